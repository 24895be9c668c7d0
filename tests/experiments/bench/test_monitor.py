import numpy as np
import pandas as pd
import pytest

from devtrack.series import ConfigEvent, Series
from experiments.bench.labelled_runs import Benchmark, Label
from experiments.bench.monitor import calibrate, devtrack, false_alarms, tail_interval
from experiments.bench.online_rivals import snapshots

STEP = np.arange(60) * 20


class Serial:
    """A pool of no processes."""

    def starmap(self, function, arguments, chunksize):
        return [function(*each) for each in arguments]


def run_of(value, events=()):
    noise = np.random.default_rng(0).standard_normal(STEP.size)
    rate = Series("lr", "schedule", STEP, np.full(STEP.size, 0.1))
    loss = Series("loss", "model", STEP, value + noise, np.ones(STEP.size))
    return [loss, rate], list(events)


def test_snapshots_come_in_order_with_the_rate_apart_and_the_last_word_on_a_step():
    (_, rate), _ = run_of(np.zeros(60))
    resumed = Series("loss", "model", np.array([0, 20, 40, 20, 40]), np.arange(5.0))
    seen = list(snapshots(([resumed, rate], [])))
    assert [snapshot.step for snapshot in seen] == STEP.tolist()
    assert [s.values["loss@model"][0] for s in seen[:3]] == [0.0, 3.0, 4.0]
    assert seen[5].values == {}
    assert seen[5].rate == 0.1


def test_devtrack_sees_a_step_and_not_one_that_an_event_explains():
    jump = np.where(STEP >= 800, 15.0, 0.0)
    (alarm,) = devtrack(run_of(jump), 1.0)
    assert 800 <= alarm <= 860
    assert devtrack(run_of(jump, [ConfigEvent(800.0, "evalset_change")]), 1.0) == []


def test_a_threshold_is_set_to_the_stated_rate():
    def counts(run, threshold):
        """As many alarms as the threshold is below 6."""
        return [0] * int(max(6.0 - threshold, 0.0))

    runs = [run_of(np.zeros(60))] * 10
    assert false_alarms(counts, 3.0, runs, Serial()) == 1000 * 3 / 60
    # the least that gives none: one alarm in each run of 60 is above 1 in 1000
    assert 5.0 < calibrate(counts, runs, Serial(), low=0.0, high=50.0) < 5.1


@pytest.mark.parametrize("late", [3, 10])
def test_the_tails_interval_draws_runs_and_spans_the_delays(late):
    names = [f"run {i}" for i in range(40)]
    change = Label(0.2, 0.21, 0.22, "step", 9.0, frozenset())
    bench = Benchmark(
        runs=pd.DataFrame({"axis": "linear"}, index=names),
        steps={run: np.arange(101.0) for run in names},
        labels={run: [change] for run in names},
    )
    alarms = {run: [20 + (3 if i < 36 else late)] for i, run in enumerate(names)}
    assert tail_interval(alarms, bench) == (3, late)
