import math

import pytest
import torch

from experiments.fourier import excluded_loss, key_frequencies, restricted_loss, wave_power, waves

P = 11
PAIRS = torch.cartesian_prod(torch.arange(P), torch.arange(P))
SUMS = PAIRS.sum(1) % P


def clock(frequencies, height=8.0):
    """Logits of a network that adds by trigonometry: Σ cos(w_k (a + b − c))."""
    apart = SUMS[:, None] - torch.arange(P)  # (pair, answer)
    parts = [torch.cos(2 * torch.pi * k * apart / P) for k in frequencies]
    return height * torch.stack(parts).sum(0)


def table():
    """Logits of a network that has memorised: nothing in them depends on a + b smoothly."""
    return 8.0 * torch.randn(P * P, P, generator=torch.Generator().manual_seed(0))


def mean_loss(logits):
    return torch.nn.functional.cross_entropy(logits, SUMS).item()


def test_waves_are_orthonormal():
    basis = waves(PAIRS, list(range(1, 6)), P)
    torch.testing.assert_close(basis.T @ basis, torch.eye(10), atol=1e-5, rtol=0)


def test_a_network_of_waves_loses_nothing_by_restriction_and_everything_by_exclusion():
    logits = clock([2, 5])
    restricted = restricted_loss(logits, PAIRS, [2, 5], P)
    assert restricted.mean().item() == pytest.approx(mean_loss(logits), abs=1e-5)
    excluded = excluded_loss(logits, PAIRS, [2, 5], P)
    assert excluded.mean().item() == pytest.approx(math.log(P), abs=1e-4)  # it knows nothing
    assert restricted.shape == excluded.shape == (P * P,)


def test_half_of_the_waves_leave_the_other_half():
    excluded = excluded_loss(clock([2, 5]), PAIRS, [2], P)
    torch.testing.assert_close(excluded.mean().item(), mean_loss(clock([5])), atol=1e-4, rtol=0)


def test_restriction_keeps_the_mean_over_pairs_and_forgets_a_table():
    bias = torch.arange(P).float()
    kept = restricted_loss(bias.expand(P * P, P), PAIRS, [1], P).mean().item()
    assert kept == pytest.approx(mean_loss(bias.expand(P * P, P)), abs=1e-5)
    logits = table()
    logits[torch.arange(P * P), SUMS] += 60  # it knows every answer by heart, but not as waves
    assert mean_loss(logits) < 1e-3
    every = list(range(1, 6))
    assert excluded_loss(logits, PAIRS, [1], P).mean().item() < 1
    assert restricted_loss(table(), PAIRS, every, P).mean().item() > 0.5 * math.log(P)


def test_power_finds_the_planted_frequencies():
    power = wave_power(clock([2, 5]) + 0.1 * table(), PAIRS, P)
    assert key_frequencies(power) == [2, 5]
    assert float(wave_power(clock([3]), PAIRS, P)[2]) == pytest.approx(1, abs=1e-5)
    assert float(wave_power(table(), PAIRS, P).sum()) < 0.2  # 10 of 120 dimensions
    assert float(wave_power(torch.ones(P * P, P), PAIRS, P).sum()) == 0
