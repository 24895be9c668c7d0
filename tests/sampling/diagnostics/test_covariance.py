import numpy as np
import pytest

from devtrack.sampling.diagnostics._covariance import covariance, covariance_about, mean_se


def _chains(rng, correlation=0.8, shape=(4, 300)):
    """Two autoregressive series with covariance 0.5 between them."""
    noise = rng.normal(size=(2, *shape))
    noise[1] = 0.5 * noise[0] + np.sqrt(0.75) * noise[1]
    series = np.empty_like(noise)
    series[..., 0] = noise[..., 0]
    for t in range(1, shape[1]):
        step = np.sqrt(1 - correlation**2) * noise[..., t]
        series[..., t] = correlation * series[..., t - 1] + step
    return series


def test_it_is_numpys():
    a, b = _chains(np.random.default_rng(0))
    assert covariance(a, b).value == pytest.approx(np.cov(a.ravel(), b.ravel())[0, 1])


def test_about_another_mean_it_is_the_formula():
    rng = np.random.default_rng(0)
    (a, b), (_, other) = _chains(rng), _chains(rng)
    expected = np.mean([x * y for x, y in zip(a.ravel(), b.ravel(), strict=True)])
    expected -= a.mean() * other.mean()
    assert covariance_about(a, b, other).value == pytest.approx(expected)


@pytest.mark.parametrize("correlation", [0.0, 0.8])
def test_errors_are_those_of_repeated_chains(correlation):
    rng = np.random.default_rng(0)
    found, about = [], []
    for _ in range(150):
        a, b = _chains(rng, correlation)
        _, other = _chains(rng, correlation)
        found.append(covariance(a, b))
        about.append(covariance_about(a + 2.0, b, other))
    for kind in (found, about):
        spread = np.std([one.value for one in kind])
        # the spread is known to 6 %, the effective number of draws to about 10 %
        assert np.sqrt(np.mean([one.se**2 for one in kind])) == pytest.approx(spread, rel=0.25)


def test_constant_draws_have_no_error():
    assert np.isnan(mean_se(np.ones((2, 10))))
