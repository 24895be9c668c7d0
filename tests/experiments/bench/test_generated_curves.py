"""The shapes, trends and noise of generated curves, the benchmark's own and others."""

import numpy as np
import pytest

from experiments.bench.generated_curves import (
    GRID,
    OTHER,
    OWN,
    PROFILES,
    Bend,
    Effect,
    bent_line,
    smooth_trend,
    unit_noise,
)


@pytest.mark.parametrize("shape", PROFILES)
def test_every_shape_rises_from_0_to_1_with_its_marks_where_they_belong(shape):
    value, *marks = PROFILES[shape]
    assert np.all(np.diff(value) >= 0)
    np.testing.assert_allclose(value[[0, -1]], (0.0, 1.0), atol=1e-5)  # the logistic's, at 12
    # a mark is the next of the tabulated places, which are 0.005 apart
    np.testing.assert_allclose(np.interp(marks, GRID, value), (0.05, 0.5, 0.95), atol=3e-3)
    effect = Effect(0.4, 0.1, shape, 5.0)
    onset, end = effect.interval
    assert end - onset == pytest.approx(0.1)
    np.testing.assert_allclose(
        effect.rise(np.array([onset, 0.4, end])), (0.05, 0.5, 0.95), atol=3e-3
    )


def test_other_shapes_trends_and_noise_are_not_the_benchmarks_own():
    for name in ("shapes", "trends", "tails"):
        assert set(getattr(OTHER, name)) - set(getattr(OWN, name))
    assert (OTHER.width, OTHER.snr, OTHER.snapshots) == (OWN.width, OWN.snr, OWN.snapshots)


@pytest.mark.parametrize("kind", sorted({*OWN.trends, *OTHER.trends}))
def test_every_trend_falls_from_1_to_0_without_a_turn(kind):
    curve = smooth_trend(np.random.default_rng(0), np.arange(0, 5000, 50), kind)
    assert (curve[0], curve[-1]) == (1.0, 0.0)
    assert np.all(np.diff(curve) <= 0)


def test_a_stretched_exponential_falls_steeply_at_first():
    curve = smooth_trend(np.random.default_rng(0), np.arange(0, 5000, 50), "stretch")
    assert np.all(np.diff(curve, n=2) > 0)


def test_a_bent_line_has_the_slopes_asked_for_away_from_its_bends():
    u = np.linspace(0.0, 1.0, 1001)
    slope = np.gradient(bent_line(u, 2.0, [Bend(0.3, 0.02, -1.0), Bend(0.7, 0.02, 3.0)]), u)
    np.testing.assert_allclose(slope[[100, 500, 900]], (2.0, -1.0, 3.0), atol=1e-6)


@pytest.mark.parametrize(("tail", "beyond"), [("gauss", 6.3e-5), ("t5", 3.6e-3), ("t3", 6.2e-3)])
def test_noise_is_correlated_of_unit_variance_and_with_its_tail(tail, beyond):
    noise = unit_noise(np.random.default_rng(0), 200_000, 0.4, tail)
    body = noise[np.abs(noise) < np.quantile(np.abs(noise), 0.999)]
    assert 0.7 < body.std() <= noise.std() < 1.1
    assert np.corrcoef(np.sign(noise[1:]), np.sign(noise[:-1]))[0, 1] > 0.2
    # the share beyond 4 standard deviations, of 200 000: its own error is below a third
    fresh = unit_noise(np.random.default_rng(0), 200_000, 0.0, tail)
    assert np.mean(np.abs(fresh) > 4) == pytest.approx(beyond, rel=1.0 if tail == "gauss" else 0.2)
