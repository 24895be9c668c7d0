"""The picture of a calibration: which traces it shows, and that they can be told."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from devtrack.plots.calibration import LABEL_GAP, draw_calibration
from devtrack.records import Status
from devtrack.sampling.calibration._calibrate import Calibration, Trial
from devtrack.sampling.config import SamplerConfig

CHOSEN = SamplerConfig(n_beta=100.0, localization=10.0, num_draws=30, num_burnin_steps=10)


def _trial(purpose, point, config, value=40.0):
    steps = config.num_draws + config.num_burnin_steps
    trace = np.full(steps, value)
    return Trial(purpose, point, config, value, 1.0, 1.0, Status.OK, (), trace)


def _figure():
    refused = replace(CHOSEN, localization=1.0)
    trials = (
        _trial("sweep", 2, refused, 90.0),
        _trial("half", 2, refused.halved(), 60.0),  # of a candidate that was not taken
        _trial("pilot", 2, CHOSEN, 38.0),
        _trial("sweep", 2, CHOSEN, 40.0),
        _trial("sweep", 0, CHOSEN, 40.1),
        _trial("sweep", 1, CHOSEN, 35.0),
        _trial("half", 2, CHOSEN.halved(), 40.2),
        _trial("control", 2, CHOSEN, 900.0),
    )
    return draw_calibration(Calibration(CHOSEN, (), trials))


def test_the_traces_are_those_of_the_choice_and_its_half():
    _, traces = _figure().axes
    heights = {float(line.get_ydata()[0]) for line in traces.lines if len(line.get_ydata()) > 2}
    assert heights == {40.0, 40.1, 35.0, 40.2}
    assert {t.get_text() for t in traces.texts} == {
        "snapshot 0",
        "snapshot 1",
        "snapshot 2",
        "at ε/2",
    }


def test_labels_stand_apart_in_the_order_of_their_traces():
    _, traces = _figure().axes
    places = [text.xy[1] for text in traces.texts]
    assert np.diff(places).min() >= LABEL_GAP - 1e-9
    assert [t.get_text() for t in traces.texts] == [
        "snapshot 1",
        "snapshot 2",
        "snapshot 0",
        "at ε/2",
    ]


def test_no_text_leaves_its_half_of_the_figure():
    figure = _figure()
    figure.draw_without_rendering()
    width = figure.bbox.width
    sweep, traces = figure.axes
    assert sweep.get_tightbbox().x1 <= traces.get_tightbbox().x0
    assert traces.get_tightbbox().x1 <= width


@pytest.mark.parametrize(
    ("least", "most"),
    [
        (1.6e-4, 6.5e-4),
        (2.2e-4, 4.5e-4),
        (3.1e-4, 6.5e-4),
        (1e-4, 1e-3),
        (2e-4, 5e-3),
        (1e-7, 1e-3),
    ],
)
def test_tick_labels_of_step_sizes_stand_apart(least, most):
    slower, chosen = replace(CHOSEN, lr=least), replace(CHOSEN, lr=most)
    trials = (_trial("sweep", 0, slower, 30.0), _trial("sweep", 0, chosen))
    figure = draw_calibration(Calibration(chosen, (), trials))
    figure.draw_without_rendering()
    sweep, _ = figure.axes
    low, high = sweep.get_xlim()
    shown = [t for t in sweep.xaxis.get_major_ticks() if low <= t.get_loc() <= high]
    boxes = [tick.label1.get_window_extent() for tick in shown if tick.label1.get_text()]
    assert boxes
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))
    assert not any(tick.label1.get_text() for tick in sweep.xaxis.get_minor_ticks())
