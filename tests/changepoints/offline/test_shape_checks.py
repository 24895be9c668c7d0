"""Which changes show in the fitted curve itself."""

import numpy as np
import pytest

from devtrack.changepoints._templates import KINK, STEP, Shape, columns
from devtrack.changepoints.offline._series_model import Fit
from devtrack.changepoints.offline._shape_checks import (
    agrees_in_sign,
    exceeds_min_effect,
    is_non_monotone,
    is_visible,
    turning_point,
)
from tests.changepoints.models import CONFIG, build_model

STEP_AT_HALF = Shape(STEP, 0.5, 0.05)


def fitted(curve, *, own=None):
    return Fit(curve, curve if own is None else own, np.empty(0), 0.0, 0)


@pytest.fixture(scope="module")
def model():
    return build_model(lambda u: np.random.default_rng(0).standard_normal(u.size), se=1.0)


@pytest.mark.parametrize("back, turns", [(0.05, False), (0.5, True)])
def test_a_curve_is_non_monotone_that_comes_back_by_a_share_of_its_range(model, back, turns):
    u = model.curve.position
    there = 100 * np.where(u < 0.5, u, 0.5)
    curve = there - np.where(u < 0.5, 0, back * 100 * (u - 0.5))
    assert is_non_monotone(model, fitted(curve)) == turns
    assert not is_non_monotone(model, fitted(curve, own=there)), "an event effect is no turn"


def test_a_level_change_is_visible_from_a_share_of_the_range_on(model):
    u, share = model.curve.position, CONFIG.shape_checks.min_step_share
    fit = fitted(100 * columns(u, *STEP_AT_HALF)[:, 0])
    for factor, visible in ((0.9, False), (1.1, True)):
        effect = factor * share * np.ptp(fit.curve)
        assert exceeds_min_effect(model, fit, effect) == visible
        assert is_visible(model, fit, STEP_AT_HALF, effect) == visible
    assert is_visible(model, fit, Shape(KINK, 0.5, 0.05), 1e-9), "a bend is judged by its turn"


def test_a_step_up_on_a_falling_curve_is_a_bend_of_the_trend(model):
    falling = fitted(-100 * model.curve.position)
    assert agrees_in_sign(model, falling, STEP_AT_HALF, -50.0)
    assert not agrees_in_sign(model, falling, STEP_AT_HALF, 50.0)
    assert not is_visible(model, falling, STEP_AT_HALF, 50.0)


def test_bends_of_one_sign_share_a_turn():
    """A wide turn told as two bends is one turn, between them; a detector that looked for it only
    up to the neighbouring bends, of whatever sign, found none."""
    model = build_model(lambda u: np.hypot(u - 0.5, 0.05), se=0.03)
    model.is_straight = True
    bends = [Shape(KINK, 0.46, 0.01), Shape(KINK, 0.55, 0.01)]
    tops = [turning_point(model, bends, kink) for kink in bends]
    (top,) = [top for top in tops if top is not None]
    assert 0.44 < model.curve.position[top] < 0.57


@pytest.mark.parametrize("height, turns", [(0.0, True), (4.0, False)])
def test_no_turn_where_the_curve_itself_goes_on(height, turns):
    """As in the demo: the trend under a wide rise fell from step 8 on, the rise did not turn."""
    rise = Shape(STEP, 0.45, 0.2)

    def rising(u):
        return height * columns(u, *rise)[:, 0] - 2 * np.hypot(u - 0.4, 0.01)

    model = build_model(rising, se=0.03)
    model.is_straight = True
    kink = Shape(KINK, 0.4, 0.01)
    assert (turning_point(model, [rise, kink], kink) is not None) == turns
