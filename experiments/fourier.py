"""Progress measures of grokking: how far modular addition rests on a few frequencies.

A network that adds modulo P by trigonometry has logits made of cos(w_k (a + b − c)) for a few key
frequencies w_k = 2πk / P. Projecting the logits onto these waves, or out of them, shows the circuit
form while the test loss does not move yet (Nanda et al. 2023, arXiv:2301.05217, §5).
"""

from __future__ import annotations

import torch
from torch.nn.functional import cross_entropy


def waves(pairs: torch.Tensor, frequencies: list[int], modulus: int) -> torch.Tensor:
    """Return cos and sin of w_k (a + b) at all pairs, orthonormal, (pair, 2 · frequency).

    Args:
        pairs: Every pair (a, b) once, (modulus², 2): only there are the waves orthogonal.
        frequencies: k from 1 to (modulus − 1) / 2.
        modulus: P, odd.
    """
    angles = 2 * torch.pi * torch.tensor(frequencies) / modulus * pairs.sum(1, keepdim=True)
    both = torch.cat([angles.cos(), angles.sin()], dim=1)
    return both * (2 / len(pairs)) ** 0.5


def wave_power(logits: torch.Tensor, pairs: torch.Tensor, modulus: int) -> torch.Tensor:
    """Return each frequency's share of the variance of the logits over pairs, (frequency,).

    What is missing from 1 depends on a and b in another way than through their sum. A constant
    output has no variance: all shares are 0.

    Shapes:
        logits: (modulus², modulus). pairs: (modulus², 2).
    """
    all_frequencies = list(range(1, (modulus + 1) // 2))
    centred = logits - logits.mean(0)
    parts = waves(pairs, all_frequencies, modulus).T @ centred
    cosines, sines = parts.square().sum(1).chunk(2)
    total = centred.square().sum()
    return (cosines + sines) / total if total > 0 else torch.zeros_like(cosines)


def key_frequencies(power: torch.Tensor, *, share: float = 0.95) -> list[int]:
    """Return the fewest frequencies that hold ``share`` of the power at all frequencies."""
    order = power.argsort(descending=True)
    enough = int((power[order].cumsum(0) < share * power.sum()).sum()) + 1
    return sorted((order[:enough] + 1).tolist())


def restricted_loss(
    logits: torch.Tensor, pairs: torch.Tensor, frequencies: list[int], modulus: int
) -> torch.Tensor:
    """Return the loss per pair when only the waves and the mean over pairs are left of the logits.

    Shapes:
        logits: (modulus², modulus). Returns (modulus²,).
    """
    basis = waves(pairs, frequencies, modulus)
    kept = logits.mean(0) + basis @ (basis.T @ logits)
    return cross_entropy(kept, pairs.sum(1) % modulus, reduction="none")


def excluded_loss(
    logits: torch.Tensor, pairs: torch.Tensor, frequencies: list[int], modulus: int
) -> torch.Tensor:
    """Return the loss per pair when the waves are taken out of the logits.

    Nanda et al. average it over the training pairs: what memorising alone achieves there.

    Shapes:
        logits: (modulus², modulus). Returns (modulus²,).
    """
    basis = waves(pairs, frequencies, modulus)
    left = logits - basis @ (basis.T @ logits)
    return cross_entropy(left, pairs.sum(1) % modulus, reduction="none")
