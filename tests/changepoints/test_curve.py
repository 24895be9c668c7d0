"""A series made ready for the detector."""

from __future__ import annotations

import numpy as np

from devtrack.changepoints import Series
from devtrack.changepoints.axis import Axis
from devtrack.changepoints.curve import make_curve


def test_standard_errors_that_end_in_zeros_leave_finite_noise():
    # an accuracy that reaches 1 reports a standard error of 0; the running sum of their squares
    # may then end a rounding error below 0
    step = np.arange(1, 41)
    rng = np.random.default_rng(0)
    for _ in range(40):
        se = np.where(step < 34, 0.01 * rng.random(40), 0.0)
        value = np.clip(step / 34 + se * rng.standard_normal(40), 0, 1)
        curve = make_curve(Series("accuracy", "model", step, value, se), Axis("log", 1, 40), step)
        assert np.isfinite(curve.h).all()
        assert (curve.h > 0).all()
