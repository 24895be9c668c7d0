"""Which changes recur: planted ones come back, alone ones stay alone."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pytest

from devtrack.changepoints._step_scale import Axis
from devtrack.errors import ConfigError
from devtrack.records import Event, Row, RunInfo, TrainingProgress
from devtrack.store import open_store
from devtrack.transitions.detection import STANDARD
from devtrack.transitions.recurrence import (
    align,
    common_axis,
    load_occurrences,
    recurring,
)
from tests.made import occurrence

AXIS = Axis("log", 0, 9999)  # four decades of (step + 1)
RUNS = [f"r{number}" for number in range(12)]


def step_at(decades):
    return 10**decades - 1


def planted(rng, *, decades, between_run_sd, runs, metric="llc", direction="up"):
    return [
        occurrence(
            *(run, "step", metric, "model", direction),
            midpoint=step_at(decades + between_run_sd * rng.standard_normal()),
        )
        for run in runs
    ]


def test_planted_changes_come_back_in_their_share_with_their_spread():
    rng = np.random.default_rng(1)
    early = planted(rng, decades=1.5, between_run_sd=0.1, runs=RUNS)
    late = planted(rng, decades=3.0, between_run_sd=0.2, runs=RUNS[:9])
    fall = planted(rng, decades=3.0, between_run_sd=0.2, runs=RUNS, direction="down")
    found = recurring([*late, *early, *fall], RUNS, axis=AXIS)
    shares = [(one.key[3], len(one.members)) for one in found]
    assert shares == [("up", 12), ("down", 12), ("up", 9)]
    for one, changes in zip(found, (early, fall, late), strict=True):
        assert set(one.members) == set(changes)
        decades = np.log10([change.move.midpoint + 1 for change in changes])
        assert one.between_run_sd == pytest.approx(decades.std(ddof=1))
        assert np.log10(one.midpoint + 1) == pytest.approx(np.median(decades), abs=0.01)
        assert np.isnan(one.measurement_se), "no interval was given"
    assert (found[2].share, found[2].num_runs) == (0.75, 12)
    assert found[2].share_low < 0.75 < found[2].share_high


def test_over_many_draws_planted_pairs_are_told_apart_and_their_spread_is_right():
    rng = np.random.default_rng(2)
    spreads, right = [], 0
    for _ in range(60):
        changes = [
            *planted(rng, decades=1.6, between_run_sd=0.15, runs=RUNS),
            *planted(rng, decades=2.8, between_run_sd=0.15, runs=RUNS[:8]),
        ]
        found = recurring([changes[i] for i in rng.permutation(len(changes))], RUNS, axis=AXIS)
        right += [len(one.members) for one in found] == [12, 8]
        spreads.append(found[0].between_run_sd)
    assert right >= 57
    # sd of a normal sample of 12 has mean .977 sigma; 60 draws of it leave ±.028 sigma
    assert np.mean(spreads) == pytest.approx(0.15 * 0.977, rel=0.08)


def test_without_a_common_place_most_changes_stay_alone():
    rng = np.random.default_rng(3)
    shares = []
    for _ in range(40):
        changes = [
            occurrence(run, "step", "llc", "model", "up", midpoint=step_at(4 * rng.random()))
            for run in RUNS
        ]
        shares.append(recurring(changes, RUNS, axis=AXIS)[0].share)
    assert np.mean(shares) < 0.6
    assert max(shares) < 0.9


def test_a_group_holds_one_change_of_a_run_at_most():
    rng = np.random.default_rng(4)
    for _ in range(50):
        run = rng.integers(0, 5, 20)
        label = align(rng.random(20), run, reach=1.0)
        assert len({(int(a), int(b)) for a, b in zip(label, run, strict=True)}) == 20
    place = np.array([0.5, 0.51])
    assert align(place, np.array([0, 0]), reach=1.0).tolist() == [0, 1]
    assert align(place, np.array([0, 1]), reach=1.0).tolist() == [0, 0]
    assert align(np.array([0.9, 0.1]), np.array([0, 1]), reach=0.2).tolist() == [1, 0]


def test_the_error_of_measurement_is_told_apart_from_the_spread():
    # a 90 % interval is 2 · 1.645 standard errors wide
    width = 0.1 * 1.6449
    changes = [
        occurrence(
            *(run, "step", "llc", "model", "up"),
            midpoint=step_at(2.0),
            low=step_at(2.0 - width),
            high=step_at(2.0 + width),
        )
        for run in RUNS
    ]
    (one,) = recurring(changes, RUNS, axis=AXIS)
    assert one.measurement_se == pytest.approx(0.1, rel=1e-3)
    assert one.between_run_sd == pytest.approx(0.0, abs=1e-9)


def test_the_share_s_interval_is_exact():
    changes = [occurrence(run, "step", "llc", "model", "up") for run in RUNS[:5]]
    (one,) = recurring(changes, RUNS[:5], axis=AXIS)
    assert (one.share_low, one.share_high) == pytest.approx((0.025 ** (1 / 5), 1.0))  # 5 of 5
    (one,) = recurring(changes[:1], RUNS[:10], axis=AXIS)
    assert one.share_low == pytest.approx(1 - 0.975 ** (1 / 10))  # 1 of 10


def test_bad_arguments_are_refused():
    change = occurrence("r1", "step", "llc", "model", "up")
    with pytest.raises(ConfigError, match=r"run 'r1'.*Add it to runs"):
        recurring([change], ["r0"], axis=AXIS)
    with pytest.raises(ConfigError, match=r"reach=0:"):
        recurring([change], ["r1"], axis=AXIS, reach=0.0)
    assert recurring([], ["r1"], axis=AXIS) == []


def test_runs_are_read_from_a_store_and_analysed_where_need_be(tmp_path):
    store = open_store(tmp_path / "runs", create=True)
    rng = np.random.default_rng(6)
    steps = np.unique(np.geomspace(1, 10_000, 70).astype(int))
    for run_id in ("a", "b", "quiet"):
        with store.writer(RunInfo(run_id, run_id, datetime(2026, 1, 1))) as writer:
            for step in steps.tolist():
                risen = 0 if run_id == "quiet" else 1 / (1 + np.exp(-8 * np.log(step / 400)))
                row = Row("llc", 2.0 * risen + 0.1 * rng.standard_normal(), 0.1)
                writer.append(TrainingProgress(step), [row])
            writer.append(TrainingProgress(9), [Event("note")])
    runs = ["a", "b", "quiet"]
    axis = common_axis(store, runs)
    assert axis.kind == "log"
    (one,) = recurring(load_occurrences(store, runs), runs, axis=axis)
    assert one.key == ("step", "llc", "model", "up")
    assert [member.run_id for member in sorted(one.members)] == ["a", "b"]
    assert one.share == pytest.approx(2 / 3)
    assert 300 < one.midpoint < 500
    assert one.measurement_se > 0
    row = {"transition": 0, "kind": "step", "metric": "llc", "site": "model", "event": "resume"}
    marked = {**row, "midpoint": 9.0, "direction": "up", "effect": 1.0}
    store.write_transitions("a", [marked], settings=STANDARD)
    assert {member.run_id for member in load_occurrences(store, runs)} == {"b"}
    with pytest.raises(ConfigError, match="0 observed steps"):
        common_axis(store, [])
