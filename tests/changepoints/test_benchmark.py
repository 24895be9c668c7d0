"""The detector on the labelled runs of ``tests/data/transitions``."""

import pandas as pd
import pytest

from experiments.bench.labelled_runs import DATA, Benchmark, read_benchmark, read_runs
from experiments.bench.transitions import COLUMNS, devtrack_detector
from experiments.bench.transitions_score import score


def figures_of(names, benchmark):
    """Score the detector on some of the runs."""
    runs = read_runs(DATA)
    rows = [{"run": run, **found} for run in names for found in devtrack_detector(runs[run])]
    chosen = Benchmark(
        runs=benchmark.runs.loc[names], steps=benchmark.steps, labels=benchmark.labels
    )
    return score(pd.DataFrame(rows, columns=COLUMNS), chosen)


def few(benchmark):
    """Return the runs 0 and 5 of each generated family, and every fourth real one.

    Chosen by number: 22 runs with every kind of label, among them quiet ones, real and generated.
    """
    is_real = benchmark.runs["source"] == "real"
    generated = [name for name in benchmark.runs.index[~is_real] if name[-2:] in ("00", "05")]
    return [*generated, *benchmark.runs.index[is_real][1::4]]


def test_the_few_runs_have_every_kind_of_label_and_quiet_runs_of_both_sources():
    benchmark = read_benchmark(DATA)
    names = few(benchmark)
    kinds = {label.kind for labels in benchmark.labels.values() for label in labels}
    assert {label.kind for name in names for label in benchmark.labels[name]} == kinds
    quiet = [name for name in names if benchmark.is_quiet(name)]
    assert set(benchmark.runs["source"][quiet]) == {"synthetic", "real"}


def test_it_holds_on_few_runs():
    """The floors are those of all runs; a median of so few errors is itself less certain."""
    benchmark = read_benchmark(DATA)
    check(figures_of(few(benchmark), benchmark), error=0.006)


@pytest.mark.slow
def test_it_holds_on_all_runs():
    """The floors leave room for platforms."""
    benchmark = read_benchmark(DATA)
    check(figures_of(list(benchmark.runs.index), benchmark), error=0.004)


def check(figures, *, error):
    assert figures.f1 >= 0.90
    assert figures.alarms_per_quiet_run["all"] <= 0.05
    assert figures.recall_by_kind["critical"] >= 0.9
    assert figures.error_median <= error
