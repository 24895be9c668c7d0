import numpy as np
import pytest

from devtrack.metrics._proportions import binomial_se, clustered_se


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_it_is_the_spread_of_repeated_shares(share):
    shares = np.random.default_rng(0).binomial(200, share, size=20_000) / 200
    told = np.sqrt(np.mean([binomial_se(s, 200) ** 2 for s in shares[:500]]))
    # the added successes and failures widen the error at .1 by 8 %
    assert told == pytest.approx(shares.std(), rel=0.1)


def test_a_perfect_share_is_not_exact():
    assert binomial_se(1.0, 50) == pytest.approx(binomial_se(0.0, 50))
    assert binomial_se(1.0, 50) > 0.01


@pytest.mark.parametrize("together", [1, 8])
def test_over_samples_it_is_the_spread_of_repeated_shares(together):
    """Rows that are right or wrong by samples of 8, of which some rows deviate."""
    rng = np.random.default_rng(0)
    told, shares = [], []
    for _ in range(2000):
        easy = rng.random(100) < 0.7
        right = rng.binomial(together, np.where(easy, 0.9, 0.3)).astype(float)
        told.append(clustered_se(right, np.full(100, float(together))))
        shares.append(right.mean() / together)
    # at together=8 the error of independent rows would be 48 % too small
    assert np.sqrt(np.mean(np.square(told))) == pytest.approx(np.std(shares), rel=0.1)


def test_where_all_rows_are_right_samples_count():
    assert clustered_se(np.full(10, 5.0), np.full(10, 5.0)) == binomial_se(1.0, 10)
    assert clustered_se(np.array([5.0]), np.array([5.0])) == binomial_se(1.0, 1)
