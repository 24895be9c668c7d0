"""What is drawn under ``--other`` is of other shapes, trends and noise than the benchmark's own."""

from types import SimpleNamespace

import numpy as np
import pytest

from experiments.bench.other_shapes import use_other_shapes


@pytest.fixture
def generator():
    """What of the benchmark's generator is changed."""
    made = SimpleNamespace(
        _TABLES={},
        SPLITS={"public": {"shapes": ("logistic",), "trends": ("power",), "n": (60,)}},
        smooth_trend=lambda rng, cfg, steps, kind=None: (steps * 0.0, kind),
        unit_noise=lambda rng, n, phi, tail: np.zeros(n),
    )
    use_other_shapes(made)
    return made


def test_every_shape_rises_from_0_to_1_with_its_marks_where_they_belong(generator):
    for v, profile, marks in generator._TABLES.values():
        assert (profile[0], profile[-1]) == (0.0, 1.0)
        assert np.all(np.diff(profile) >= 0)
        np.testing.assert_allclose(np.interp(marks, v, profile), (0.05, 0.5, 0.95), atol=3e-3)
    assert set(generator._TABLES) < set(generator.SPLITS["public"]["shapes"])
    assert generator.SPLITS["public"]["n"] == (60,)


def test_a_stretched_exponential_falls_from_1_to_0_steeply_at_first(generator):
    rng = np.random.default_rng(0)
    curve, kind = generator.smooth_trend(rng, {"trends": ("stretch",)}, np.arange(0, 5000, 50))
    assert kind == "stretch"
    assert (curve[0], curve[-1]) == (1.0, 0.0)
    assert np.all(np.diff(curve) < 0)
    assert np.all(np.diff(curve, n=2) > 0)
    assert generator.smooth_trend(rng, {"trends": ("power",)}, np.arange(3))[1] == "power"


def test_heavy_noise_is_correlated_and_of_unit_variance(generator):
    noise = generator.unit_noise(np.random.default_rng(0), 200_000, 0.4, "t5")
    body = noise[np.abs(noise) < np.quantile(np.abs(noise), 0.999)]
    assert 0.7 < body.std() < noise.std() < 1.1
    assert np.corrcoef(np.sign(noise[1:]), np.sign(noise[:-1]))[0, 1] > 0.2
    # beyond 4 standard deviations lie .62 % of Student's t of 3 degrees, .36 % of 5
    fresh = generator.unit_noise(np.random.default_rng(0), 200_000, 0.0, "t5")
    assert 0.005 < np.mean(np.abs(fresh) > 4) < 0.008
    assert not generator.unit_noise(np.random.default_rng(0), 5, 0.4, "gauss").any()
