"""What events of the training configuration may leave on a curve."""

import numpy as np
import pytest

from devtrack.changepoints._event_regressors import (
    event_columns,
    is_config_series,
    jump_columns,
    optimizer_starts,
)
from devtrack.changepoints._step_scale import choose_axis
from devtrack.changepoints.config import EventConfig
from devtrack.series import ConfigEvent, Series

STEPS = np.arange(0.0, 2_000, 50)
AXIS = choose_axis(STEPS)
CONFIG = EventConfig()


def effects_of(*events, schedules=()):
    return event_columns(STEPS, AXIS, CONFIG, events=events, schedules=schedules)


def rates(value):
    return Series("lr", "optimizer", STEPS.astype(int), np.asarray(value, float))


def is_spanned(wanted, columns):
    rest = wanted - columns @ np.linalg.lstsq(columns, wanted, rcond=None)[0]
    return bool(np.abs(rest).max() < 1e-6)


@pytest.mark.parametrize(
    "metric, is_config", [("lr", True), ("lr/group_0", True), ("lrs", False), ("loss", False)]
)
def test_learning_rates_are_configuration(metric, is_config):
    assert is_config_series(Series(metric, "model", np.arange(2), np.zeros(2))) == is_config


def test_a_resume_may_shift_the_level_before_or_after_its_snapshot():
    (jump,) = jump_columns(STEPS, [ConfigEvent(500.0, "resume"), ConfigEvent(500.0, "lr_change")])
    assert jump.tolist() == np.column_stack([STEPS >= 500, STEPS > 500]).astype(float).tolist()
    assert effects_of(ConfigEvent(500.0, "resume")).size == 0, "it does not steer the training"


def test_an_event_outside_the_series_leaves_nothing():
    assert jump_columns(STEPS, [ConfigEvent(5_000.0, "resume")]) == []
    assert jump_columns(STEPS, [ConfigEvent(-1.0, "resume")]) == []


def test_a_change_of_the_learning_rate_may_shift_relax_bend_and_bump():
    columns = effects_of(ConfigEvent(500.0, "lr_change"))
    after, elapsed = STEPS >= 500, np.maximum(STEPS - 500, 0)
    for share in CONFIG.relaxation_times:
        assert is_spanned(np.where(after, 1 - np.exp(-elapsed / (share * 500)), 0.0), columns)
    assert is_spanned(after.astype(float), columns)
    u, place = AXIS.fraction(STEPS), float(AXIS.fraction(500))
    for width in CONFIG.bump_widths:
        assert is_spanned(np.exp(-0.5 * ((u - place) / width) ** 2), columns)
    assert not is_spanned((STEPS > 1_500).astype(float), columns), "elsewhere it explains nothing"


def test_an_annealed_rate_brings_powers_of_its_share_that_is_gone():
    annealed = 1 - STEPS / (2 * STEPS[-1])
    columns = effects_of(schedules=[rates(annealed)])
    assert columns == pytest.approx(np.column_stack([(1 - annealed) ** k for k in (1, 2, 3)]))


@pytest.mark.parametrize("value", [np.full(STEPS.size, 0.1), np.full(STEPS.size, np.nan)])
def test_a_rate_that_does_not_change_brings_nothing(value):
    assert effects_of(schedules=[rates(value)]).shape == (STEPS.size, 0)


def test_only_momentum_starts_from_rest():
    events = [
        ConfigEvent(0.0, "optimizer_start", 0.9),
        ConfigEvent(300.0, "optimizer_start", 0.0),
        ConfigEvent(600.0, "resume"),
    ]
    (start,) = optimizer_starts(events, linear=True)
    assert (start.step, start.momentum, start.linear) == (0.0, 0.9, True)
    assert effects_of(*events).size == 0, "the start is part of the trend"
