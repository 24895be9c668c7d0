"""A series made ready for the detector."""

from __future__ import annotations

import numpy as np

from devtrack.changepoints._preprocessing import prepare_series, roughness
from devtrack.changepoints._step_scale import Axis
from devtrack.changepoints.config import DetectorConfig
from devtrack.series import Series

CONFIG = DetectorConfig()


def test_standard_errors_that_end_in_zeros_leave_finite_noise():
    # an accuracy that reaches 1 reports a standard error of 0; the running sum of their squares
    # may then end a rounding error below 0
    step = np.arange(1, 41)
    rng = np.random.default_rng(0)
    for _ in range(40):
        se = np.where(step < 34, 0.01 * rng.random(40), 0.0)
        value = np.clip(step / 34 + se * rng.standard_normal(40), 0, 1)
        curve = prepare_series(
            Series("accuracy", "model", step, value, se), Axis("log", 1, 40), step, CONFIG
        )
        assert np.isfinite(curve.noise_sd).all()
        assert (curve.noise_sd > 0).all()


def noisy(value, *, se=1.0, seed=0):
    steps = np.arange(0, 100 * value.size, 100)
    noise = np.random.default_rng(seed).standard_normal(value.size)
    spread = np.full(value.size, se)
    curve = prepare_series(
        Series("loss", "model", steps, value + noise, spread),
        Axis("linear", 0, float(steps[-1])),
        steps.astype(float),
        CONFIG,
    )
    return curve, value + noise


def test_a_spike_is_cut_and_what_was_cut_is_not_believed():
    spiky = np.zeros(60)
    spiky[30:32] = [30.0, 12.0]
    for se in (1.0, np.nan):
        curve, _ = noisy(spiky, se=se)
        assert np.ptp(curve.value) * curve.scale < 10
        unit = np.median(curve.noise_sd)
        assert (curve.noise_sd[30:32] > np.array([20, 5]) * unit).all()
        assert (np.delete(curve.noise_sd, [30, 31]) < 2 * unit).all()


def test_a_spike_between_gaps_is_cut_though_it_draws_the_trend_to_itself():
    """Of 20 such spikes 12 stay where nothing but distance from the trend counts."""
    spikes = []
    for seed in range(20):
        grid = np.unique(np.round(np.geomspace(100, 200_000, 60)))
        step = grid[[*range(48), 51, *range(54, grid.size)]]
        value = 60 * (step / 1000) ** -0.1 + np.random.default_rng(seed).standard_normal(step.size)
        value[48] += 7.0
        series = Series("loss", "model", step.astype(int), value, np.ones(step.size))
        curve = prepare_series(series, Axis("log", 100, 200_000), step, CONFIG)
        spikes.append(curve.scale * (curve.value[48] - np.mean(curve.value[[47, 49]])))
    assert np.sum(np.array(spikes) > 5) <= 2


def test_the_corners_of_a_fall_are_no_spikes():
    """Beside the trend that such a fall bends they stand alone, in the curve they do not."""
    for seed in range(10):
        curve, value = noisy(np.where(np.arange(30) < 20, 30.0, 0.0), seed=seed)
        moved = curve.value * curve.scale - (value - value.mean())
        assert np.ptp(moved) < 1e-9


def test_the_noise_of_short_series_can_be_seen():
    """Of 100 series of 30 points, correlation 0.5; the median as the spread sees it in 74."""
    seen = 0
    for seed in range(100):
        noise = np.random.default_rng(seed).standard_normal(30)
        for i in range(1, 30):
            noise[i] = 0.5 * noise[i - 1] + np.sqrt(0.75) * noise[i]
        seen += roughness(noise, CONFIG.noise) > CONFIG.noise.min_roughness
    assert seen >= 80
    assert roughness(np.exp(-np.arange(60) / 10), CONFIG.noise) < 0.5
