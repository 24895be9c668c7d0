"""Smooth curves without a transition."""

import numpy as np
import pytest

from devtrack.changepoints._templates import columns
from devtrack.changepoints._trend import (
    RelaxationBasis,
    exponential_basis,
    fit_relaxations,
    linear_trend,
    rough_trend,
    scaled_by,
)
from tests.changepoints.models import CONFIG

STEPS = np.unique(np.geomspace(1, 10_000, 80).astype(int)).astype(float)
NONE = np.empty((STEPS.size, 0))


def whole(a):
    return a


def rest_of(values):
    """Return what a mixture of relaxations of one sign leaves, as a share of the curve's range."""
    basis = RelaxationBasis.of(exponential_basis(STEPS, CONFIG.trend), whole)
    trend = fit_relaxations(basis, values, whole, CONFIG.trend, extra=NONE)
    x = np.column_stack([np.ones(STEPS.size), trend.columns.sum(axis=1)])
    rest = values - x @ np.linalg.lstsq(x, values, rcond=None)[0]
    return np.std(rest) / np.ptp(values)


@pytest.mark.parametrize(
    "curve",
    [
        lambda t: np.exp(-t / 300),
        lambda t: (1 + t / 30) ** -0.5,
        lambda t: -np.exp(-((t / 300) ** 0.5)),
        lambda t: np.log1p(t),
    ],
    ids=["exponential", "power law", "stretched exponential", "logarithm"],
)
def test_completely_monotone_curves_are_mixtures_of_relaxations(curve):
    assert rest_of(curve(STEPS)) < 0.01


@pytest.mark.parametrize("kind", ["step", "turn"])
def test_no_mixture_imitates_a_level_change_or_a_turning_point(kind):
    u = np.linspace(0, 1, STEPS.size)
    curve = columns(u, 0, 0.5, 0.05)[:, 0] if kind == "step" else np.abs(u - 0.5)
    assert rest_of(curve) > 0.05


def test_rates_reach_from_a_line_to_the_shortest_gap():
    basis = exponential_basis(STEPS, CONFIG.trend)
    slow, fast = basis[:, 0], basis[:, -1]
    line = 1 - CONFIG.trend.slowest * (STEPS - STEPS[0]) / np.ptp(STEPS)
    assert slow == pytest.approx(line, abs=0.5 * CONFIG.trend.slowest**2)
    assert fast[1] == pytest.approx(np.exp(-CONFIG.trend.fastest), rel=1e-6)


def test_many_relaxations_that_share_a_curve_may_each_be_larger():
    few, many = np.exp(-STEPS / 300), (1 + STEPS) ** -0.3
    basis = RelaxationBasis.of(exponential_basis(STEPS, CONFIG.trend), whole)
    fits = [fit_relaxations(basis, y, whole, CONFIG.trend, extra=NONE) for y in (few, many)]
    for fit in fits:
        num = fit.columns.shape[1]
        share = np.sqrt(max(1, num / CONFIG.trend.max_free_components))
        assert fit.sd == pytest.approx(np.full(num, CONFIG.trend.prior_scale * share))
    assert fits[1].columns.shape[1] > fits[0].columns.shape[1]


def test_the_trend_takes_what_a_mark_of_limited_size_cannot():
    step = np.arange(100.0)
    decays = exponential_basis(step, CONFIG.trend)
    basis = RelaxationBasis.of(decays, whole)
    values = 5.0 * decays[:, 4] + 0.01 * np.random.default_rng(0).standard_normal(step.size)
    ramp = decays[:, [4]]
    free = fit_relaxations(basis, values, whole, CONFIG.trend, extra=ramp)
    tied = fit_relaxations(basis, values, whole, CONFIG.trend, extra=ramp, extra_sd=np.array([0.1]))
    assert np.ptp(free.columns.sum(axis=1)) < 0.1 * np.ptp(values)
    assert np.ptp(tied.columns.sum(axis=1)) == pytest.approx(np.ptp(values), rel=0.05)


def test_a_line_is_centred_and_free():
    u = np.linspace(0, 1, 11)
    trend = linear_trend(u)
    assert trend.columns[:, 0] == pytest.approx(u - 0.5)
    assert trend.sd == pytest.approx([1e6])


def test_a_rough_trend_follows_a_smooth_curve_in_noise():
    u = np.linspace(0, 1, STEPS.size)
    curve, h = 5 * np.exp(-STEPS / 300) + u**2, np.full(STEPS.size, 0.1)
    basis = exponential_basis(STEPS, CONFIG.trend)
    errors = []
    for seed in range(10):
        noise = h * np.random.default_rng(seed).standard_normal(u.size)
        errors.append(rough_trend(basis, u, curve + noise, h, CONFIG.trend) - curve)
    # an offset, a cubic and some five relaxations on 80 points: 0.1 (9 / 80) ** 0.5 = 0.034
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(0.034, rel=0.4)


def test_noise_units_are_of_the_points():
    h = np.array([1.0, 2.0])
    assert scaled_by(h)(np.array([2.0, 2.0])) == pytest.approx([2, 1])
    assert scaled_by(h)(np.ones((2, 3))) == pytest.approx(np.array([[1] * 3, [0.5] * 3]))
