"""Models whose local learning coefficient is known exactly.

Deep linear networks (Aoyagi 2024, "Consideration on the learning efficiency of multiple-layered
neural networks with linear units"), and what a perfect sampler would answer at finite nβ and γ: by
quadrature for losses of two parameters, by exact draws of whole layers for deep linear networks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from itertools import combinations, pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class LearningCoefficient(NamedTuple):
    """λ and its multiplicity m: the free energy grows as λ log n − (m − 1) log log n."""

    value: float
    multiplicity: int


def deep_linear(widths: Sequence[int], rank: int) -> LearningCoefficient:
    """Return λ of a deep linear network at the true map of the given rank.

    Aoyagi's value is global: the smallest over all weights that realise the map. It is the local
    one at points where every layer has exactly ``rank`` (see ``balanced_weights``).

    Args:
        widths: H_0, …, H_L from input to output.
        rank: Rank r of the true map.

    Source:
        Aoyagi 2024; science.md §3.

    Example:
        >>> deep_linear([5, 3, 5], 3)
        LearningCoefficient(value=10.5, multiplicity=1)
    """
    excess = sorted(width - rank for width in widths)
    if rank < 0 or excess[0] < 0:
        raise ValueError(f"rank={rank}: must lie in 0…{min(widths)} for widths {list(widths)}.")
    chosen = excess[: _num_chosen(excess)]
    ell, total = len(chosen) - 1, sum(chosen)
    remainder = total - (-(-total // ell) - 1) * ell
    value = (
        (-(rank**2) + rank * (widths[0] + widths[-1])) / 2
        + remainder * (ell - remainder) / (4 * ell)
        - ell * (ell - 1) / 4 * (total / ell) ** 2
        + sum(a * b for a, b in combinations(chosen, 2)) / 2
    )
    return LearningCoefficient(value, remainder * (ell - remainder) + 1)


def _num_chosen(excess: list[int]) -> int:
    """Return the smallest k = ℓ + 1 ≥ 2 with S ≥ ℓ·Δ_{k−1} and (k = L + 1 or S < ℓ·Δ_k)."""
    for k in range(2, len(excess) + 1):
        ell, total = k - 1, sum(excess[:k])
        if total >= ell * excess[k - 1] and (k == len(excess) or total < ell * excess[k]):
            return k
    raise ValueError(f"widths minus rank {excess}: no admissible set of layers.")


def balanced_weights(
    widths: Sequence[int], rank: int, *, seed: int = 0
) -> list[npt.NDArray[np.float64]]:
    """Return weights of a deep linear network whose every layer has exactly ``rank``.

    Layer i is U_i U_{i−1}ᵀ with orthonormal columns, so that all its singular values are 0 or 1 and
    the product U_L U_0ᵀ has the rank too.

    Shapes:
        Returns: one (H_i, H_{i−1}) array per layer.
    """
    rng = np.random.default_rng(seed)
    frames = [np.linalg.qr(rng.normal(size=(width, width)))[0][:, :rank] for width in widths]
    return [after @ before.T for before, after in pairwise(frames)]


def tempered_deep_linear(
    widths: Sequence[int],
    rank: int,
    *,
    n_beta: float,
    localization: float,
    num_sweeps: int = 200,
    seed: int = 0,
) -> tuple[float, float]:
    """Return nβ E[L] of a balanced network on whitened inputs, and its standard error.

    That is what a perfect sampler would answer, found without gradients or steps: under
    exp(−nβ L − γ/2 ‖w − w*‖²), L = ½ ‖W_L ⋯ W_1 − P‖², each layer is Gaussian given the others, so
    that it is drawn whole, in the eigenvectors of what stands before and behind it. A quarter of
    the sweeps is left out.
    """
    rng = np.random.default_rng(seed)
    at_center = balanced_weights(widths, rank)
    target = reduce(lambda done, w: w @ done, at_center)
    layers = [layer.copy() for layer in at_center]
    energies = []
    for _ in range(num_sweeps):
        for place, center in enumerate(at_center):
            before = reduce(lambda done, w: w @ done, layers[:place], np.eye(widths[0]))
            behind = reduce(lambda done, w: w @ done, layers[place + 1 :], np.eye(len(center)))
            left, u = np.linalg.eigh(n_beta * behind.T @ behind)
            right, v = np.linalg.eigh(before @ before.T)
            precision = localization + np.outer(left.clip(0), right.clip(0))
            force = n_beta * behind.T @ target @ before.T + localization * center
            drawn = u.T @ force @ v / precision + rng.normal(size=center.shape) / precision**0.5
            layers[place] = u @ drawn @ v.T
        distance = reduce(lambda done, w: w @ done, layers) - target
        energies.append(n_beta / 2 * np.square(distance).sum())
    kept = np.array(energies[num_sweeps // 4 :])
    pieces = np.array([piece.mean() for piece in np.array_split(kept, 10)])
    return float(kept.mean()), float(pieces.std(ddof=1) / np.sqrt(len(pieces)))


def tempered_mean(
    loss: Callable[[npt.NDArray[np.float64], npt.NDArray[np.float64]], npt.NDArray[np.float64]],
    *,
    n_beta: float,
    localization: float,
    num_points: int = 1501,
) -> float:
    """Return nβ E[L] under exp(−nβ L − γ/2 ‖w‖²) of a loss with two parameters, by quadrature.

    That is what a perfect sampler around w* = 0 would answer: λ plus all that finite nβ and γ do.

    Args:
        loss: Vectorised over both parameters; 0 at (0, 0).
        n_beta: Inverse temperature nβ.
        localization: Strength γ of the pull; above 0, it makes the integral finite.
        num_points: Grid points per parameter, spaced as sinh so that they are dense near 0.
    """
    reach = 8 / np.sqrt(localization)
    u = np.linspace(-12, 12, num_points)
    grid = reach * np.sinh(u) / np.sinh(12)
    measure = reach * np.cosh(u)  # dw/du, up to a constant
    w1, w2 = np.meshgrid(grid, grid, indexing="ij")
    energy = n_beta * loss(w1, w2)
    weight = np.exp(-energy - localization / 2 * (w1**2 + w2**2)) * np.outer(measure, measure)
    return float((energy * weight).sum() / weight.sum())
