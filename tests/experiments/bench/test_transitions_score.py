"""The scorer by hand: what is a match, what is false, and what is not counted."""

import numpy as np
import pandas as pd
import pytest

from experiments.bench.labelled_runs import Benchmark, Label
from experiments.bench.transitions_score import match, score, score_online

MOVED = frozenset(["loss", "llc"])


def label(midpoint, kind="step", snr=20.0):
    return Label(midpoint - 0.02, midpoint, midpoint + 0.02, kind, snr, MOVED)


@pytest.fixture
def benchmark():
    """A run with every kind of label, and a quiet one; 101 snapshots each, 1 % apart."""
    kinds = {0.2: "step", 0.4: "critical", 0.6: "optional", 0.8: "nuisance_spike"}
    runs = pd.DataFrame({"axis": "linear", "source": ["real", "synthetic"]}, index=["a", "b"])
    return Benchmark(
        runs=runs,
        steps={run: np.arange(101.0) for run in "ab"},
        labels={"a": [label(u, kind) for u, kind in kinds.items()], "b": []},
    )


def test_each_detection_has_its_verdict(benchmark):
    found = match([21.0, 24.0, 44.0, 60.0, 81.0, 95.0], benchmark, "a")
    assert found.verdict == ["matched", "duplicate", "matched", "ignored", "nuisance", "false"]
    assert [q and q.kind for q in found.label] == ["step", None, "critical", None, None, None]


def test_the_figures_count_them(benchmark):
    rows = [("a", 21.0, "loss"), ("a", 24.0, "loss"), ("a", 60.0, "loss"), ("b", 50.0, "loss")]
    figures = score(pd.DataFrame(rows, columns=["run", "step", "metrics"]), benchmark)
    assert figures.f1 == pytest.approx(2 / (2 + 2 + 1))  # one found, two false, one missed
    assert figures.recall_by_kind == {"step": 1.0, "critical": 0.0}
    assert figures.recall_by_snr["snr>10"] == 0.5
    assert figures.alarms_per_quiet_run["synthetic"] == 1.0
    assert np.isnan(figures.alarms_per_quiet_run["real"])
    assert (figures.duplicates, figures.nuisances, figures.count_exact) == (1, 0, 0.5)
    assert figures.error_median == pytest.approx(0.01)
    assert figures.jaccard == 0.5


def test_delays_are_counted_in_snapshots_from_onset_and_midpoint(benchmark):
    figures = score_online({"a": [22, 23, 90], "b": [5]}, benchmark, ["a", "b"])
    assert figures.detected == 0.5
    assert (figures.delay_median, figures.midpoint_delay_median) == (4, 2)
    assert figures.alarms_per_1000 == pytest.approx(1000 / 101)
