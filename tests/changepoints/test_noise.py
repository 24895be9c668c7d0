import numpy as np
import pytest

from devtrack.changepoints._noise import log_jacobian, profile, shape_error, whiten
from devtrack.changepoints.config import NoiseConfig

CONFIG = NoiseConfig()
RNG = np.random.default_rng(0)
INDEX = np.array([0, 1, 2, 4, 7, 8, 9, 15])


@pytest.mark.parametrize("phi", [0.3, 0.9])
def test_whitening_is_that_of_the_covariance(phi):
    """The naive twin: the inverse of the Cholesky factor of phi ** |lag|."""
    root = np.linalg.cholesky(phi ** np.abs(INDEX[:, None] - INDEX[None, :]))
    x = RNG.standard_normal((INDEX.size, 3))
    assert whiten(x, INDEX, phi) == pytest.approx(np.linalg.solve(root, x))
    assert whiten(x[:, 0], INDEX, phi) == pytest.approx(np.linalg.solve(root, x[:, 0]))
    assert log_jacobian(INDEX, phi) == pytest.approx(-np.log(np.diag(root)).sum())


def test_without_correlation_nothing_changes():
    x = RNG.standard_normal(INDEX.size)
    assert np.array_equal(whiten(x, INDEX, 0.0), x)
    assert log_jacobian(INDEX, 0.0) == 0.0


def test_the_shape_error_is_a_share_of_what_moves_nearby():
    u = np.linspace(0, 1, 101)
    fit = np.where(u > 0.5, 4.0, 0.0)
    error = shape_error(u, fit, CONFIG)
    assert error[[0, 40, 60, 100]] == pytest.approx(0)
    assert error[[49, 50, 51]] == pytest.approx(4 * CONFIG.shape_error)


def test_the_profile_follows_a_planted_one():
    u = np.linspace(0, 1, 400)
    planted = np.exp(1.5 * (u - 0.5))
    y = planted * RNG.standard_normal(400)
    found = profile(u, y, np.ones(400), CONFIG, se_known=False)
    # three times the error of a slope from 400 logs of scatters of sd 1.1
    assert np.log(found[-1] / found[0]) == pytest.approx(1.5, abs=3 * 1.1 / np.sqrt(400 / 12))
    flat = profile(u, RNG.standard_normal(400), np.ones(400), CONFIG, se_known=True)
    assert abs(np.log(flat[-1] / flat[0])) < 0.5
