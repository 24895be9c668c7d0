import numpy as np
import pytest

from devtrack.metrics.proportions import binomial_se


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_it_is_the_spread_of_repeated_shares(share):
    shares = np.random.default_rng(0).binomial(200, share, size=20_000) / 200
    told = np.sqrt(np.mean([binomial_se(s, 200) ** 2 for s in shares[:500]]))
    # the added successes and failures widen the error at .1 by 8 %
    assert told == pytest.approx(shares.std(), rel=0.1)


def test_a_perfect_share_is_not_exact():
    assert binomial_se(1.0, 50) == pytest.approx(binomial_se(0.0, 50))
    assert binomial_se(1.0, 50) > 0.01
