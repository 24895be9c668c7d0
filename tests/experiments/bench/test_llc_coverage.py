import numpy as np
import pytest

from experiments.bench.llc_coverage import CHAINS_PER_CALL, members_of


@pytest.mark.parametrize(("num_batches", "num_chains"), [(16, 4), (16, 8), (1, 4), (6, 4)])
def test_every_chain_of_a_call_belongs_to_one_estimate(num_batches, num_chains):
    members = members_of(num_batches, num_chains)
    assert members.shape == (CHAINS_PER_CALL // num_chains, num_chains)
    np.testing.assert_array_equal(np.sort(members.ravel()), np.arange(CHAINS_PER_CALL))


def test_chains_of_an_estimate_enter_the_order_of_batches_at_equal_distances():
    members = members_of(16, 4)
    # chains 0 to 15 share an order, which chain k enters at its k-th batch
    assert set(members[0]) == {0, 4, 8, 12}
    assert all(set(np.diff(one)) == {4} for one in members)
    assert all(len(set(one // 16)) == 1 for one in members)
