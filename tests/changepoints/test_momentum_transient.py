from itertools import islice

import numpy as np
import pytest

from devtrack.changepoints._momentum_transient import OptimizerStart, heavy_ball_response
from devtrack.changepoints._trend import exponential_basis
from devtrack.changepoints.config import TrendConfig
from devtrack.changepoints.offline.detector import detect
from devtrack.changepoints.online.detector import OnlineDetector
from devtrack.series import ConfigEvent, Series

STEPS = np.unique(np.geomspace(1, 10_000, 90).astype(int))
U = np.log1p(STEPS) / np.log1p(10_000)
MOMENTUM = 0.9
EVENT = ConfigEvent(0.0, "optimizer_start", MOMENTUM)


def descend(momentum, curvature, steps):
    """The naive twin: a heavy ball's steps down a parabola, one after the other."""
    x, speed, distance = 1.0, 0.0, []
    for _ in range(int(steps[-1]) + 1):
        distance.append(x)
        speed = momentum * speed + curvature * x
        x -= speed
    return np.array(distance)[steps]


def bowl(rng, *, noise=0.02):
    """The loss of a heavy ball in a bowl of ten curvatures."""
    curvatures, sizes = 10 ** rng.uniform(-3, -1, 10), rng.dirichlet(np.ones(10))
    falls = [w * descend(MOMENTUM, h, STEPS) ** 2 for w, h in zip(sizes, curvatures, strict=True)]
    return np.sum(falls, axis=0) + noise * rng.standard_normal(STEPS.size)


def series(value):
    return Series("loss", "model", STEPS, value, np.full(STEPS.size, 0.02))


@pytest.mark.parametrize("momentum", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("linear", [False, True])
def test_rolls_are_those_of_a_ball(momentum, linear):
    """Every column is the twin's distance, or its square, at the curvature its first step tells."""
    steps = np.arange(400)
    columns = heavy_ball_response(
        steps.astype(float), OptimizerStart(0.0, momentum, linear), np.geomspace(1e-4, 1, 13)
    )
    for column in columns.T:
        twins = [
            descend(momentum, 1 - column[1], steps),
            descend(momentum, 1 - np.sqrt(column[1]), steps) ** 2,
        ]
        assert min(np.abs(column - twin).max() for twin in twins) < 1e-9
    assert (columns.min() < -0.1) == linear


def test_without_a_start_the_trend_is_made_of_relaxations_alone():
    decays = exponential_basis(STEPS.astype(float), TrendConfig())
    assert np.all(np.diff(decays, axis=0) <= 0)
    assert (
        exponential_basis(STEPS.astype(float), TrendConfig(), [OptimizerStart(0.0, 0.9)]).shape[1]
        > decays.shape[1]
    )


def test_a_ball_that_rolls_from_rest_is_no_transition():
    """18 bowls: at a rate of 20 % two or more alarms come in 9 of 10 such tests (at the nominal 5 %
    in 1 of 4; none came of 24). Without the event some raise one, which is then the optimizer's."""
    runs = [[series(bowl(np.random.default_rng(seed)))] for seed in range(18)]
    known = [detect(run, events=[EVENT]) for run in runs]
    alarms = sum(any(t.event is None for t in found) for found in known)
    marks = sum(any(t.event == "optimizer_start" for t in found) for found in known)
    assert alarms <= 1
    assert len(list(islice((run for run in runs if detect(run)), 6))) == 6
    assert marks >= 5


def test_a_weight_that_swings_about_its_place_is_no_transition():
    """Three weights, nominal 5 %: an alarm has a chance of 1 in 7; the seeds are fixed. A trend of
    what a loss may do, which never swings below where it settles, raises one at all of them."""
    alarms = 0
    for seed in range(3):
        rng = np.random.default_rng(seed)
        weight = 1 - descend(MOMENTUM, 10 ** rng.uniform(-2, -1), STEPS)
        found = detect([series(weight + 0.02 * rng.standard_normal(STEPS.size))], events=[EVENT])
        alarms += any(t.event is None for t in found)
    assert alarms == 0


def test_a_change_of_the_network_is_found_beside_the_ball():
    """A rise of 5 noise units at step 158; a swing that passed for it would hide it."""
    rise = 0.1 / (1 + np.exp(-(U - 0.55) * 2 * np.log(19) / 0.1))
    for seed in range(3):
        found = detect([series(bowl(np.random.default_rng(seed)) + rise)], events=[EVENT])
        places = [np.log1p(t.midpoint) / np.log1p(10_000) for t in found if t.event is None]
        assert places == pytest.approx([0.55], abs=0.05)


def test_a_ball_that_rolls_from_rest_raises_no_alarm():
    def alarms(value, events):
        detector = OnlineDetector()
        for event in events:
            detector.add_event(event)
        updates = [detector.update(s, {"loss": (v, 0.002)}) for s, v in zip(STEPS.tolist(), value)]
        return [alarm.step for alarm in updates if alarm is not None]

    losses = [bowl(np.random.default_rng(seed), noise=0.002) for seed in range(5)]
    assert sum(bool(alarms(loss, [])) for loss in losses) >= 3
    assert [alarms(loss, [EVENT]) for loss in losses] == [[]] * 5
    late = losses[0] + 0.1 * (STEPS > 600)
    assert 600 < alarms(late, [EVENT])[0] < 1000
