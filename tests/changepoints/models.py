"""Models of series made by hand, for tests of the detector's parts."""

import numpy as np

from devtrack.changepoints._preprocessing import prepare_series
from devtrack.changepoints._step_scale import choose_axis
from devtrack.changepoints._templates import make_template_bank, max_transition_width
from devtrack.changepoints.config import DetectorConfig
from devtrack.changepoints.offline._series_model import SeriesModel
from devtrack.series import Series

CONFIG = DetectorConfig()


def build_model(values, *, se=0.1, steps=None):
    """Return the model of a series whose values are a function of the position on the axis."""
    steps = np.unique(np.geomspace(1, 10_000, 80).astype(int)) if steps is None else steps
    axis = choose_axis(steps)
    y = values(axis.fraction(steps))
    series = Series("m", "model", steps, y, np.full(y.shape, se))
    curve = prepare_series(series, axis, steps.astype(float), CONFIG)
    return SeriesModel(
        curve,
        np.empty((curve.position.size, 0)),
        make_template_bank(curve.position, 0.2, CONFIG.templates),
        0.2,
        config=CONFIG,
    )


def falls_at(step, *, seed=0):
    """Return the model of a series with one sharp fall, and its axis."""
    steps = np.concatenate([[0, 1], np.unique(np.geomspace(10, 5_000, 60).astype(int))])
    axis = choose_axis(steps, kind="log")
    rng = np.random.default_rng(seed)
    value = 2.3 * (steps < step) + 0.05 * rng.standard_normal(steps.size)
    series = Series("loss", "model", steps, value, np.full(steps.size, 0.05))
    curve = prepare_series(series, axis, steps.astype(float), CONFIG)
    top = max_transition_width(axis, CONFIG.templates)
    return SeriesModel(
        curve,
        np.empty((steps.size, 0)),
        make_template_bank(curve.position, top, CONFIG.templates),
        top,
        config=CONFIG,
    ), axis
