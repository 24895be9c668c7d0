"""Where a change is dated, and where none can be."""

import numpy as np
import pytest

from devtrack.changepoints._preprocessing import prepare_series
from devtrack.changepoints._step_scale import choose_axis
from devtrack.changepoints._templates import STEP, Shape, make_template_bank, max_transition_width
from devtrack.changepoints.offline._clustering import (
    ChangeCluster,
    SeriesChange,
    cluster_evidence,
)
from devtrack.changepoints.offline._location import _step, locate, relocate
from devtrack.changepoints.offline._series_model import SeriesModel
from devtrack.changepoints.offline._significance import simulate_null
from devtrack.changepoints.offline.detector import detect
from devtrack.series import Series
from tests.changepoints.models import CONFIG, falls_at


@pytest.mark.parametrize("fall_at, is_dated", [(4, False), (40, True)])
def test_no_change_is_dated_in_the_gap_after_the_first_steps(fall_at, is_dated):
    """Between steps 1 and 10 a fall of many sizes fits: two snapshots lie before it."""
    model, axis = falls_at(fall_at)
    shape = Shape(STEP, float(axis.fraction(fall_at)), 0.05)
    assert (_step(SeriesChange(0, shape, 30.0), model, [shape]) is not None) == is_dated


@pytest.mark.parametrize("off, stays", [(0.01, True), (0.05, False)])
def test_a_change_told_beside_its_place_goes_there_and_leaves_what_is_too_far(off, stays):
    model, axis = falls_at(300)
    place = float(axis.fraction(300))
    cluster = ChangeCluster([SeriesChange(0, Shape(STEP, place + off, 0.02), 30.0)])
    settled = relocate(
        [cluster], simulate_null([model], np.random.default_rng(0), CONFIG.significance)
    )
    assert len(settled) == stays
    for part in settled[0].parts if settled else ():
        assert part.shape.mid == pytest.approx(place, abs=0.02)


def test_a_wide_change_told_as_narrow_stays():
    """Its flank was told; where it lies is known to a share of the width that it turns out to
    have."""
    steps = np.arange(0, 4_000, 40)
    axis = choose_axis(steps)
    rng = np.random.default_rng(0)
    value = 1 / (1 + np.exp(-(steps / 4_000 - 0.5) / 0.03)) + 0.03 * rng.standard_normal(100)
    series = Series("llc", "model", steps, value, np.full(100, 0.03))
    curve = prepare_series(series, axis, steps.astype(float), CONFIG)
    model = SeriesModel(
        curve,
        np.empty((100, 0)),
        make_template_bank(curve.position, 0.25, CONFIG.templates),
        0.25,
        config=CONFIG,
    )
    flank = ChangeCluster([SeriesChange(0, Shape(STEP, 0.54, 0.01), 30.0)])
    (settled,) = relocate(
        [flank], simulate_null([model], np.random.default_rng(0), CONFIG.significance)
    )
    assert settled.mid == pytest.approx(axis.fraction(2_000), abs=0.01)


def test_intervals_hold_where_the_noise_is_not_quite_what_was_learned():
    """100 rises beside noise with a correlation of 0.5 that the model takes for white: 90 are to be
    covered (82 or less: 1 in 100), and a posterior that doubts nothing covers 77."""
    steps = np.unique(np.geomspace(1, 10_000, 90).astype(int))
    axis = choose_axis(steps)
    u, top, covered = axis.fraction(steps), max_transition_width(axis, CONFIG.templates), 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        place, noise = rng.uniform(0.3, 0.7), rng.standard_normal(steps.size)
        for i in range(1, noise.size):
            noise[i] = 0.5 * noise[i - 1] + np.sqrt(1 - 0.5**2) * noise[i]
        value = 10 / (1 + np.exp(-(u - place) * 60)) + noise
        curve = prepare_series(
            Series("llc", "model", steps, value, np.ones(steps.size)),
            axis,
            steps.astype(float),
            CONFIG,
        )
        model = SeriesModel(
            curve,
            np.empty((steps.size, 0)),
            make_template_bank(curve.position, top, CONFIG.templates),
            top,
            config=CONFIG,
        )
        shape = Shape(STEP, place, 0.1)
        located = _step(SeriesChange(0, shape, 30.0), model, [shape])
        covered += located.low <= place <= located.high
    assert covered >= 83


def test_a_change_is_believed_for_the_parts_that_hold_alone():
    """The loud part lies in the gap after the first steps, where none can be dated."""
    (loud, axis), (quiet, _) = falls_at(4), falls_at(40)
    null = simulate_null([loud, quiet], np.random.default_rng(0), CONFIG.significance)

    def located(glr):
        parts = [
            SeriesChange(s, Shape(STEP, float(axis.fraction(at)), 0.05), g)
            for s, (at, g) in enumerate([(4, 300.0), (40, glr)])
        ]
        cluster = ChangeCluster(parts)
        return locate(cluster, [cluster], null, axis, CONFIG, alpha=0.05)

    assert located(1.0) is None
    found = located(300.0)
    assert len(found.moves) == 1
    alone = ChangeCluster([SeriesChange(1, Shape(STEP, 0.5, 0.05), 300.0)])
    assert found.evidence == null.p_value(cluster_evidence(alone, null))


@pytest.mark.parametrize("dip, is_told", [(0.008, False), (0.05, True)])
def test_a_series_that_hardly_moves_takes_no_part(dip, is_told):
    """At its precision the dip is no chance, but beside the rise that follows nobody sees it."""
    steps = np.unique(np.geomspace(10, 5_000, 80).astype(int))
    rng = np.random.default_rng(0)
    loss = 2.3 * (steps < 60) + 0.05 * rng.standard_normal(steps.size)
    rise = 1 / (1 + (steps / 1000.0) ** -8)
    accuracy = rise - dip * (steps >= 60) + 0.001 * rng.standard_normal(steps.size)
    run = [
        Series("loss", "model", steps, loss, np.full(steps.size, 0.05)),
        Series("accuracy", "model", steps, accuracy, np.full(steps.size, 0.001)),
    ]
    first = detect(run)[0]
    assert first.midpoint == pytest.approx(60, rel=0.1)
    assert ("accuracy" in [move.metric for move in first.moves]) == is_told
