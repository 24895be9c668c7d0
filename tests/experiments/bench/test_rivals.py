import numpy as np
import pytest

from devtrack.series import Series
from experiments.bench.online_rivals import bayesian, cusum
from experiments.bench.rivals import RIVALS, LineCost, evenly

STEP = np.unique(np.geomspace(10, 1e5, 110).astype(int))
X = np.linspace(0, 1, STEP.size)


def run_of(*curves, noise=1.0, seed=0):
    rng = np.random.default_rng(seed)
    lr = Series("lr", "schedule", STEP, np.full(STEP.size, 1e-3))
    made = [
        Series(f"m{k}", "model", STEP, c + noise * rng.standard_normal(STEP.size))
        for k, c in enumerate(curves)
    ]
    return [*made, lr], []


def jump(where, size):
    return size / (1 + np.exp(-(X - where) * 120))


@pytest.mark.parametrize("name", RIVALS)
def test_each_finds_a_large_step_near_its_place_and_names_what_moved(name):
    found = list(RIVALS[name](run_of(jump(0.6, 40.0), jump(0.6, -40.0))))
    if name == "GP critical points":  # it looks for the ends of stages, and both are plateaus
        return
    near = [f for f in found if abs(np.interp(f["step"], STEP, X) - 0.6) < 0.05]
    assert near
    assert near[0]["start"] <= near[0]["step"] <= near[0]["end"]
    assert near[0]["metrics"] == "m0|m1"


def test_critical_points_are_found_where_a_run_turns():
    ((turn,)) = RIVALS["GP critical points"](run_of(-60 * (X - 0.5) ** 2, noise=0.3))
    assert np.interp(turn["step"], STEP, X) == pytest.approx(0.5, abs=0.05)


def test_the_line_cost_is_the_least_squares_one():
    signal = np.random.default_rng(0).standard_normal((40, 2))
    cost, x = LineCost().fit(signal), np.linspace(-1, 1, 40)
    slopes, rest = cost.line(7, 31)
    for k in range(2):
        (slope, _), (left,), *_ = np.polyfit(x[7:31], signal[7:31, k], 1, full=True)
        assert slopes[k] == pytest.approx(slope)
        assert rest[k] == pytest.approx(left)


def test_a_grid_is_no_finer_than_the_snapshots_and_leaves_the_learning_rate_out():
    even = evenly(run_of(X, X**2, noise=0.0))
    assert even.values.shape == (STEP.size, 2)
    assert even.names == ["m0", "m1"]
    assert even.axis.kind == "log"


@pytest.mark.parametrize(("detector", "threshold"), [(cusum, 14.0), (bayesian, 18.0)])
def test_online_rivals_see_a_step_and_are_quiet_without_one(detector, threshold):
    """Thresholds near those of one false alarm per 1000 snapshots."""
    assert detector(run_of(0.0 * X), threshold) == []
    first = detector(run_of(jump(0.6, 40.0)), threshold)[0]
    assert 0.5 < np.interp(first, STEP, X) < 0.75
