"""Where a change is dated, and where none can be."""

import numpy as np
import pytest

from devtrack.changepoints.axis import choose_axis
from devtrack.changepoints.clusters import Part
from devtrack.changepoints.curve import make_curve
from devtrack.changepoints.dating import _step
from devtrack.changepoints.model import SeriesModel
from devtrack.changepoints.series import Series
from devtrack.changepoints.templates import STEP, Shape, make_bank, widest


@pytest.mark.parametrize("fall_at, is_dated", [(4, False), (40, True)])
def test_no_change_is_dated_in_the_gap_after_the_first_steps(fall_at, is_dated):
    """Between steps 1 and 10 a fall of many sizes fits: two snapshots lie before it."""
    steps = np.concatenate([[0, 1], np.unique(np.geomspace(10, 5_000, 60).astype(int))])
    axis = choose_axis(steps, kind="log")
    rng = np.random.default_rng(0)
    value = 2.3 * (steps < fall_at) + 0.05 * rng.standard_normal(steps.size)
    series = Series("loss", "model", steps, value, np.full(steps.size, 0.05))
    curve = make_curve(series, axis, steps.astype(float))
    top = widest(axis)
    model = SeriesModel(curve, np.empty((steps.size, 0)), make_bank(curve.u, top), top)
    shape = Shape(STEP, float(axis.fraction(fall_at)), 0.05)
    assert (_step(Part(0, shape, 30.0), model, [shape]) is not None) == is_dated
