"""Noise of few bits: moments, independence, and chains that find what they find with all bits."""

import numpy as np
import pytest
import torch
from scipy import stats

from devtrack.sampling._noise import QuantileNoise, build_noise, draw_normal


def _drawn(size=100_003, *, times=10, dtype=torch.float32):
    out = torch.empty(size, dtype=dtype)
    noise, generator = QuantileNoise(out), torch.Generator().manual_seed(3)
    rows = []
    for _ in range(times):
        noise(out, generator)
        rows.append(out.double().numpy().copy())
    return np.stack(rows)


def test_moments_are_those_of_the_normal_law():
    drawn = _drawn()
    error = drawn.size**-0.5
    assert abs(drawn.mean()) < 4 * error
    assert abs((drawn**2).mean() - 1) < 4 * np.sqrt(2) * error
    assert abs((drawn**4).mean() - 3) < 4 * np.sqrt(96) * error
    assert stats.kstest(drawn[0], "norm").pvalue > 0.001


def test_numbers_that_share_a_draw_of_bits_are_independent():
    drawn = _drawn()[:, :100_000].reshape(-1, 4)
    for values in (drawn, np.abs(drawn)):
        correlations = np.corrcoef(values.T)[np.triu_indices(4, 1)]
        assert np.abs(correlations).max() < 4.5 / np.sqrt(len(drawn))


def test_successive_draws_are_independent():
    first, second = _drawn(times=2)
    assert abs(np.corrcoef(first, second)[0, 1]) < 4 / np.sqrt(first.size)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_quantile_is_as_likely_and_their_variance_is_1(dtype):
    drawn = _drawn(2**20, times=1, dtype=dtype)[0]
    values, counts = np.unique(drawn, return_counts=True)
    assert len(values) == 2**16
    assert stats.chisquare(counts).pvalue > 0.001
    assert (values**2).mean() == pytest.approx(1, rel=1e-6)
    assert values.mean() == pytest.approx(0, abs=1e-9)


def test_the_generator_alone_decides():
    one, other = torch.empty(7), torch.empty(7)
    torch.manual_seed(0)
    QuantileNoise(one)(one, torch.Generator().manual_seed(5))
    before = torch.get_rng_state()
    QuantileNoise(other)(other, torch.Generator().manual_seed(5))
    assert torch.equal(one, other)
    assert torch.equal(before, torch.get_rng_state())


def test_full_precision_draws_as_torch_and_devinterp_do():
    like, out = torch.zeros(5), torch.empty(5)
    assert build_noise("full", like) is draw_normal
    assert isinstance(build_noise("bf16", like), QuantileNoise)
    draw_normal(out, torch.Generator().manual_seed(1))
    assert torch.equal(out, torch.randn(5, generator=torch.Generator().manual_seed(1)))
