import math
from itertools import product

import numpy as np
import pytest

from devtrack.changepoints._event_regressors import ConfigEvent
from devtrack.changepoints.config import OnlineDetectorConfig
from devtrack.changepoints.online._bayes_factor import LogBayesFactor
from devtrack.changepoints.online.detector import (
    OnlineDetector,
    combine_bayes_factors,
)
from devtrack.errors import ConfigError

CONFIG = OnlineDetectorConfig()
N = 80
LINEAR = np.arange(1, N + 1) * 50
LOG = np.unique(np.geomspace(10, 1e5, N).astype(int))


def relaxation(step):
    return 40 * np.exp(-step / 100.0) + 20 * (1 + step / 30) ** -0.4


def sigmoid(grid, middle, *, width=4):
    return 1 / (1 + np.exp(-(np.arange(grid.size) - middle) * 4 / width))


def watch(grid, curves, *, se=1.0, seed=0, noise=1.0, detector=None, events=(), rates=None):
    """Run a detector over ``curves`` with white noise; return its alarms by snapshot number."""
    rng = np.random.default_rng(seed)
    detector = detector or OnlineDetector()
    for event in events:
        detector.add_event(event)
    alarms = {}
    for i, step in enumerate(grid):
        values = {
            name: (curve[i] + noise * rng.standard_normal(), se) for name, curve in curves.items()
        }
        alarm = detector.update(int(step), values, rate=None if rates is None else rates[i])
        if alarm is not None:
            alarms[i] = alarm
    return alarms


@pytest.mark.parametrize("grid", [LINEAR, LOG], ids=["linear", "log"])
@pytest.mark.parametrize("se", [1.0, math.nan])
def test_a_planted_change_is_seen_within_snapshots_and_a_relaxation_is_not(grid, se):
    # without standard errors the noise itself must be seen: not on a steep trend
    smooth = relaxation(grid) * (0.15 if math.isnan(se) else 1.0)
    middle = 50
    assert watch(grid, {"loss@model": smooth}, se=se) == {}
    found = watch(grid, {"loss@model": smooth - 12 * sigmoid(grid, middle)}, se=se)
    first, alarm = next(iter(found.items()))
    assert middle - 4 <= first <= middle + 4
    assert [move.direction for move in alarm.moves] == ["down"]
    assert grid[middle - 8] <= alarm.onset <= grid[first]
    assert alarm.log_evidence > alarm.threshold
    assert len(found) == 1, "one change, one alarm"


def ar1(rng, size, phi):
    z = rng.standard_normal(size)
    for i in range(1, size):
        z[i] = phi * z[i - 1] + (1 - phi**2) ** 0.5 * z[i]
    return z


def alarms_on_quiet_runs(count, *, seed):
    """Trends of all sizes, correlated noise, misstated standard errors: nothing changes."""
    rng, alarms = np.random.default_rng(seed), 0
    for k in range(count):
        grid = (LINEAR, LOG)[k % 2]
        curves = {
            f"m{j}": 10 ** rng.uniform(-1, 0.5) * relaxation(grid)
            + rng.uniform(0.7, 1.4) * ar1(rng, grid.size, rng.choice([0.0, 0.4]))
            for j in range(1 + k % 3)
        }
        alarms += len(watch(grid, curves, noise=0.0))
    return alarms


def test_quiet_runs_stay_quiet():
    """At 1 in 1000, 560 snapshots bring 3 alarms or more once in 50 such tests; the seed is fixed.

    Cut ``threshold_offset`` by 4 and there are more.
    """
    assert alarms_on_quiet_runs(7, seed=5) <= 2


@pytest.mark.slow
def test_the_false_alarm_rate_holds():
    """8000 snapshots, 8 alarms expected at the stated rate; 15 or more come once in 50 times."""
    assert alarms_on_quiet_runs(100, seed=6) <= 14


def test_a_spike_is_no_change_and_a_step_of_its_size_is():
    flat = np.zeros(N)
    spike, step = flat.copy(), flat.copy()
    spike[40:42] = 15, 6
    step[40:] = 15
    assert watch(LINEAR, {"a": spike}) == {}
    assert list(watch(LINEAR, {"a": step})) in ([41], [42], [43])


def test_more_series_bring_power():
    """A change too small for one series is seen when it stands in six."""
    grid = LINEAR[:50]
    small = {f"m{k}": 2.0 * sigmoid(grid, 38) for k in range(5)}
    seen_alone = sum(bool(watch(grid, {"m0": small["m0"]}, seed=s)) for s in range(3))
    seen_together = sum(bool(watch(grid, small, seed=s)) for s in range(3))
    assert seen_together == 3 > seen_alone


def test_joint_odds_average_one_when_nothing_moves():
    """E-values: with each series' odds averaging 1, so does the joint of any number of them."""
    rng = np.random.default_rng(0)
    for count in (1, 3, 20):
        z = rng.standard_normal((count, 20_000))
        odds = z - 0.5  # log likelihood ratio of N(1, 1) against N(0, 1)
        mean = np.exp(combine_bayes_factors(list(odds), CONFIG.max_moving_share)).mean()
        assert mean == pytest.approx(1.0, abs=0.1)


def test_joint_odds_are_those_of_every_subset_that_may_move():
    """The naive twin: each series moves by itself with a share's probability, or stays."""
    for count in (1, 2, 5):
        log_odds = 3 * np.random.default_rng(count).standard_normal(count)
        log_odds[-1] -= 20  # sure to have stayed: it costs power and no more
        told = []
        for share in {1 / count, count**-0.5, CONFIG.max_moving_share}:
            told.append(0.0)
            for moves in product([False, True], repeat=count):
                odds = [math.exp(one) if moved else 1 for one, moved in zip(log_odds, moves)]
                chances = [share if moved else 1 - share for moved in moves]
                told[-1] += math.prod(odds) * math.prod(chances)
        (found,) = combine_bayes_factors(
            [np.array([one]) for one in log_odds], CONFIG.max_moving_share
        )
        assert found == pytest.approx(math.log(np.mean(told)), abs=1e-9)


def test_series_may_move_a_lag_apart():
    """Each age's odds are the mean over it and its neighbours, an end standing for the next."""
    odds = np.array([[1.0, 2.0, 6.0], [1.0, 1.0, 1.0]])
    near = [(1 + 1 + 2) / 3, (1 + 2 + 6) / 3, (2 + 6 + 6) / 3]
    other = np.ones(1)
    for age, one in enumerate(near):
        wanted = combine_bayes_factors([np.log([one]), np.log(other)], CONFIG.max_moving_share)
        assert combine_bayes_factors(list(np.log(odds)), CONFIG.max_moving_share)[
            age
        ] == pytest.approx(wanted[0])


def test_every_snapshot_after_which_it_may_have_begun_is_counted(monkeypatch):
    """Shiryaev-Roberts: where nothing speaks for or against any onset, their number is left. Far
    back a few stand for all: each must count for the stretch of snapshots since the last."""
    indifferent = lambda *_, onset, **__: LogBayesFactor(0 * onset, 1 + 0 * onset)  # noqa: E731
    monkeypatch.setattr("devtrack.changepoints.online.detector.log_bayes_factor", indifferent)
    for snapshots, onsets in ((8, 6), (14, 10), (20, 14), (101, 60), (600, 420)):
        detector = OnlineDetector(false_alarms_per_1000=100)
        noise = np.random.default_rng(0).standard_normal(snapshots)
        for step in range(1, snapshots):
            detector.observe(step, {"a": (noise[step], 1.0)})
        alarm = detector.update(snapshots, {"a": (noise[0], 1.0)})
        # within the oldest three quarters, and in whole stretches: 1 to 10, then 12, 14, ... 420
        assert alarm.log_evidence == pytest.approx(math.log(onsets))


def test_what_an_event_explains_is_no_alarm():
    jump = np.where(LINEAR >= 2000, 10.0, 0.0)
    event = ConfigEvent(2000.0, "evalset_change")
    assert watch(LINEAR, {"loss": jump})
    assert watch(LINEAR, {"loss": jump}, events=[event]) == {}


def test_jumps_of_many_series_at_a_resume_are_no_alarm():
    """Ten series; a detector that asked each by itself whether the resume left a jump raised alarms
    in both of these runs."""
    jump = {f"m{j}": (-1) ** j * np.where(LINEAR >= 2350, 2.0, 0.0) for j in range(10)}
    for seed in range(2):
        assert watch(LINEAR, jump, seed=seed, events=[ConfigEvent(2350.0, "resume")]) == {}


def test_rough_series_without_standard_errors_witness_only_where_none_has_one():
    """A real weight norm wanders: its roughness passes for noise, and its bends for changes."""
    rng = np.random.default_rng(8)
    jump = 12 * sigmoid(LINEAR, 50)
    alone, beside = OnlineDetector(), OnlineDetector()
    seen = {"alone": 0, "beside": 0}
    for i, step in enumerate(LINEAR):
        rough = (jump[i] + rng.standard_normal(), math.nan)
        quiet = (rng.standard_normal(), 1.0)
        seen["alone"] += alone.update(int(step), {"norm": rough}) is not None
        seen["beside"] += beside.update(int(step), {"norm": rough, "loss": quiet}) is not None
    assert seen == {"alone": 1, "beside": 0}


def test_no_alarm_while_the_learning_rate_warms_up():
    change = 15 * sigmoid(LINEAR, 30)
    rising = np.minimum(np.arange(N) / 60, 1.0)
    held = watch(LINEAR, {"loss": change}, rates=rising)
    assert all(number >= 60 for number in held)
    assert min(watch(LINEAR, {"loss": change}, rates=np.ones(N))) < 60


def test_a_series_without_visible_noise_is_no_sole_witness():
    """A weight norm moves smoothly and has no standard error: it can only support others."""
    kink = 1e-3 * LINEAR**1.1 + np.where(LINEAR > 2000, (LINEAR - 2000) / 50.0, 0.0) ** 2
    assert watch(LINEAR, {"weight_norm": kink}, se=math.nan, noise=0.0) == {}


def test_a_rewound_run_forgets_what_came_after():
    curve = 20 * sigmoid(LINEAR, 45)
    clean, dirty = OnlineDetector(), OnlineDetector()
    kept = LINEAR[:40]
    values = np.random.default_rng(1).standard_normal(N) + curve
    for i, step in enumerate(kept):
        assert clean.update(int(step), {"a": (values[i], 1.0)}) is None
        assert dirty.update(int(step), {"a": (values[i], 1.0)}) is None
    for step in LINEAR[40:43]:
        dirty.observe(int(step), {"a": (99.0, 1.0)})
    for i, step in enumerate(LINEAR[40:], start=40):
        pair = [d.update(int(step), {"a": (values[i], 1.0)}) for d in (clean, dirty)]
        assert pair[0] == pair[1]


def test_remembering_is_updating_without_alarms():
    curve = 20 * sigmoid(LINEAR, 60)
    values = np.random.default_rng(2).standard_normal(N) + curve
    told, seen = OnlineDetector(), OnlineDetector()
    for i, step in enumerate(LINEAR):
        here = {"a": (values[i], 1.0)}
        if i < 50:
            told.observe(int(step), here)
            seen.update(int(step), here)
        else:
            assert told.update(int(step), here) == seen.update(int(step), here)


def test_gaps_nan_and_late_series_are_taken_as_they_come():
    rng = np.random.default_rng(3)
    detector = OnlineDetector()
    for i, step in enumerate(LOG):
        values = {"a": (rng.standard_normal() if i % 7 else math.nan, 1.0)}
        if i > 30:
            values["late"] = (rng.standard_normal(), math.nan)
        if i % 3 == 0:
            values["rare"] = (0.5, 0.0)
        assert detector.update(int(step), values) is None


@pytest.mark.parametrize("rate", [0, -1, 101, "1", math.nan])
def test_a_rate_that_cannot_be_is_refused(rate):
    with pytest.raises(ConfigError, match=r"false_alarms_per_1000=.*must be above 0.*Pass"):
        OnlineDetector(false_alarms_per_1000=rate)


def test_a_lower_rate_means_a_higher_threshold():
    thresholds = [OnlineDetector(false_alarms_per_1000=r).threshold for r in (0.5, 1.0, 5.0)]
    assert thresholds == sorted(thresholds, reverse=True)
