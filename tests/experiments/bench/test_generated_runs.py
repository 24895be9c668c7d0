"""Generated runs: repeatable, and those of the public part are the stored ones."""

import numpy as np
import pandas as pd
import pytest

from experiments.bench.generated_runs import COUNTS, PUBLIC_SEED, draw_run, write_runs
from experiments.bench.labelled_runs import DATA, read_benchmark, read_runs


@pytest.mark.parametrize("family", COUNTS)
def test_the_public_part_is_what_is_drawn_with_its_seed(tmp_path, family):
    drawn = [draw_run(family, index, PUBLIC_SEED) for index in (0, 3)]
    write_runs(tmp_path, drawn)
    names = [run.name for run in drawn]
    for file, numbers in [("metrics.csv.gz", ["value", "se"]), ("labels.csv", ["mid_step", "snr"])]:
        try:
            made = pd.read_csv(tmp_path / file)
        except pd.errors.EmptyDataError:  # no labels
            made = pd.DataFrame(columns=pd.read_csv(DATA / file).columns)
        stored = pd.read_csv(DATA / file)
        stored = stored[stored.run.isin(names)].reset_index(drop=True)
        assert len(made) == len(stored)
        for column in numbers:
            # five digits are stored: another libm may round one differently
            np.testing.assert_allclose(
                made[column].to_numpy(float), stored[column].to_numpy(float), rtol=2e-4
            )


def test_what_is_written_is_read_again(tmp_path):
    run = draw_run("mixed", 3, 5)
    write_runs(tmp_path, [run])
    ((series, events),) = read_runs(tmp_path).values()
    assert {(s.metric, s.site) for s in series} == set(run.series)
    for one in series:
        value, _ = run.series[one.metric, one.site]
        np.testing.assert_allclose(one.value, value, rtol=1e-4)
    assert [e.step for e in events] == [round(step) for step, _ in sorted(run.events)]
    benchmark = read_benchmark(tmp_path)
    wanted = sorted(run.labels, key=lambda label: label.midpoint)
    for label, read in zip(wanted, benchmark.labels[run.name], strict=True):
        place = benchmark.position(run.name, label.midpoint)
        assert read.midpoint == pytest.approx(float(place), abs=1e-4)
        assert (read.kind, read.metrics) == (label.kind, label.metrics)
