"""A change against no change, in one series."""

import math

import numpy as np
import pytest

from devtrack.changepoints._event_regressors import event_columns
from devtrack.changepoints._step_scale import choose_axis
from devtrack.changepoints.config import OnlineDetectorConfig
from devtrack.changepoints.online._bayes_factor import log_bayes_factor
from devtrack.changepoints.online._window import history_window
from devtrack.series import ConfigEvent

CONFIG = OnlineDetectorConfig()
STEPS = np.arange(0.0, 2_000, 50)
AGES = np.array([2, 5, 10, 20])


def odds_of(value, *, events=(), se=1.0, config=CONFIG):
    points = [(int(s), float(v), se) for s, v in zip(STEPS, value)]
    window, axis = history_window(points, STEPS, config), choose_axis(STEPS)
    return log_bayes_factor(
        window,
        axis.fraction(window.step),
        config,
        now=1.0,
        onset=axis.fraction(STEPS)[-AGES - 1],
        event_effects=event_columns(STEPS, axis, config.events, events=events, schedules=()),
    )


def noise(seed):
    return np.random.default_rng(seed).standard_normal(STEPS.size)


@pytest.mark.parametrize("age", [5, 10, 20])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_planted_change_has_the_best_odds_at_its_onset(age, sign):
    value = noise(0)
    value[-age:] += 12 * sign
    found = odds_of(value)
    best = int(np.argmax(found.log_odds))
    assert AGES[best] == age
    assert found.log_odds[best] > 10
    assert found.sign[best] == sign


def test_quiet_series_do_not_gain_on_average():
    """A Bayes factor has mean 1 under the model without a change; 4 of 1000 exceed 250."""
    odds = np.array([odds_of(noise(seed)).log_odds for seed in range(60)])
    assert np.exp(odds).mean() < 2
    assert np.median(odds) < 0


def test_a_spike_at_the_end_is_no_change():
    value = noise(1)
    value[-1] += 30
    spike = odds_of(value).log_odds.max()
    value[-5:-1] += 30
    assert spike < 3 < odds_of(value).log_odds.max()


def test_what_an_event_explains_is_no_change():
    value = noise(2) + 12 * (STEPS[-10] <= STEPS)
    event = ConfigEvent(float(STEPS[-10]), "lr_change")
    assert odds_of(value).log_odds.max() > 10
    assert odds_of(value, events=[event]).log_odds.max() < 3


def test_a_relaxation_is_no_change():
    assert odds_of(200 * np.exp(-STEPS / 400) + noise(3)).log_odds.max() < 1


def test_more_event_effects_than_points_leave_the_odds_finite():
    """Two events bring 18 columns: nothing is left to tell the noise of 16 points from."""
    events = [ConfigEvent(200.0, "lr_change"), ConfigEvent(500.0, "lr_change")]
    step = STEPS[1:17]
    noise = np.random.default_rng(4).standard_normal(step.size)
    window = history_window([(s, v, math.nan) for s, v in zip(step, noise)], step, CONFIG)
    axis = choose_axis(step)
    event_effects = event_columns(step, axis, CONFIG.events, events=events, schedules=())
    found = log_bayes_factor(
        window,
        axis.fraction(step),
        CONFIG,
        now=1.0,
        onset=np.array([0.8, 0.5]),
        event_effects=event_effects,
    )
    assert event_effects.shape[1] > step.size
    assert np.all(np.isfinite(found.log_odds))
