"""One series up to now."""

import math

import numpy as np
import pytest

from devtrack.changepoints.config import OnlineDetectorConfig
from devtrack.changepoints.online._window import history_window

CONFIG = OnlineDetectorConfig()


def window_of(value, *, se=math.nan):
    step = np.arange(float(len(value)))
    return history_window([(int(s), float(v), se) for s, v in zip(step, value)], step, CONFIG)


@pytest.mark.parametrize(
    "se, least", [(0.1, CONFIG.min_points_known), (math.nan, CONFIG.min_points_unknown)]
)
def test_too_few_points_say_nothing(se, least):
    value = np.random.default_rng(0).standard_normal(least)
    assert window_of(value[:-1], se=se) is None
    assert window_of(value, se=se) is not None


def test_a_constant_series_says_nothing():
    assert window_of(np.full(30, 2.0), se=0.1) is None


def test_noise_is_reported_observable_or_neither():
    noise = np.random.default_rng(0).standard_normal(60)
    smooth = np.exp(-np.arange(60) / 20)
    known, rough, bare = window_of(noise, se=1.0), window_of(noise), window_of(smooth)
    assert (known.se_known, known.noise_observable) == (True, True)
    assert (rough.se_known, rough.noise_observable) == (False, True)
    assert (bare.se_known, bare.noise_observable) == (False, False)


def test_values_are_in_units_of_the_noise():
    value = 0.1 * np.random.default_rng(0).standard_normal(40)
    window = window_of(value, se=0.1)
    assert window.noise_sd == pytest.approx(np.ones(40))
    assert np.diff(window.value) == pytest.approx(np.diff(value) / 0.1)


def test_a_spike_is_cut_but_not_at_the_end_where_it_may_be_a_change():
    value = np.random.default_rng(0).standard_normal(40)
    value[[20, 38]] += 30
    window = window_of(value, se=1.0)
    assert window.value[20] < 5
    assert window.value[38] == pytest.approx(value[38])


def test_old_points_are_binned_without_bias():
    points = [(i, float(i), 1.0) for i in range(1000)]
    window = history_window(points, np.arange(1000.0), CONFIG)
    assert window.step.size < 120
    assert np.all(np.diff(window.step) > 0)
    np.testing.assert_allclose(window.step, window.number)
    np.testing.assert_allclose(window.step[-40:], np.arange(960, 1000))
    slope = np.diff(window.value) / np.diff(window.step)
    np.testing.assert_allclose(slope, slope[-1])


def test_the_noise_of_a_bin_is_that_of_its_mean():
    window = window_of(np.random.default_rng(0).standard_normal(200), se=1.0)
    pair = np.flatnonzero(np.isclose(np.diff(window.step), 2.0))[-1]
    single = window.noise_sd[-1]
    assert window.noise_sd[pair] == pytest.approx(single / np.sqrt(2))
