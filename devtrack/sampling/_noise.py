"""The noise of Langevin steps: exactly normal, or from few random bits where a CPU draws it."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from scipy.special import ndtri

from devtrack.sampling.config import Precision

NUM_QUANTILES = 2**16
NUMBERS_PER_DRAW = 4  # of 16 bits in one of 64


class Noise(Protocol):
    """Draws standard normal numbers."""

    def __call__(self, out: torch.Tensor, generator: torch.Generator) -> None:
        """Overwrite ``out``, (parameter,), from ``generator`` alone."""
        ...


def draw_normal(out: torch.Tensor, generator: torch.Generator) -> None:
    """Overwrite ``out`` as torch does; devinterp, given the same generator, draws the same."""
    out.normal_(generator=generator)


class QuantileNoise:
    """Draws each number as one of 2¹⁶ quantiles of the normal law, scaled to variance 1.

    What chains do in the long run hangs on the moments of their noise. Here all odd ones vanish,
    the second is 1, the fourth 2.9992 instead of 3, and no number lies beyond 4.33. On a CPU it
    takes half the time of ``draw_normal``.

    Args:
        like: The weights of one chain, (parameter,).
    """

    def __init__(self, like: torch.Tensor) -> None:
        quantiles = ndtri((np.arange(NUM_QUANTILES) + 0.5) / NUM_QUANTILES)
        self._quantiles = torch.as_tensor(quantiles / quantiles.std()).to(like)
        num_draws = -(-like.numel() // NUMBERS_PER_DRAW)
        self._bits = torch.empty(num_draws, dtype=torch.int64, device=like.device)
        self._index = torch.empty(like.numel(), dtype=torch.int32, device=like.device)

    def __call__(self, out: torch.Tensor, generator: torch.Generator) -> None:
        """Overwrite ``out``, (parameter,), from ``generator`` alone."""
        self._bits.random_(-(2**63), None, generator=generator)
        self._index.copy_(self._bits.view(torch.uint16)[: self._index.numel()])
        torch.index_select(self._quantiles, 0, self._index, out=out)


def build_noise(precision: Precision, like: torch.Tensor) -> Noise:
    """Return exactly normal noise, and of 16 bits in bf16 on a CPU.

    Args:
        precision: See ``SamplerConfig``.
        like: The weights of one chain, (parameter,).
    """
    if precision == "bf16" and like.device.type == "cpu":
        return QuantileNoise(like)
    return draw_normal
