"""Langevin updates on flat weights: a handful of whole-array operations per step.

All chains of a group lie in one (chain, parameter) array, so that the update and the noise cost a
few passes over memory however many layers the model has.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch

from devtrack.sampling.config import SamplerConfig


class Kernel(Protocol):
    """One step of a sampler, in place."""

    def apply(
        self,
        weights: torch.Tensor,
        displacement: torch.Tensor,
        gradient: torch.Tensor,
        noise: torch.Tensor,
    ) -> None:
        """Move ``weights``; ``gradient`` and ``noise`` may be overwritten.

        Args:
            weights: Where the chains stand.
            displacement: w − w*.
            gradient: ∇L_m(w).
            noise: Standard normal.

        Shapes:
            All (chain, parameter).
        """
        ...

    def metric_product(self, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """Return the product of two gradients in the metric of the steps, of scale G per parameter.

        Shapes:
            one, other: (chain, parameter). Returns: (chain,), Σ G ∂L ∂L'.
        """
        ...


class Sgld:
    """Δw = −(ε/2)(nβ ∇L(w) + γ(w − w*)) + √ε N(0, I).

    Source:
        Lau et al. 2023 (arXiv:2308.12108), algorithm 1.
    """

    def __init__(self, config: SamplerConfig, *, n_beta: float) -> None:
        self._config = config
        self._n_beta = n_beta

    def apply(
        self,
        weights: torch.Tensor,
        displacement: torch.Tensor,
        gradient: torch.Tensor,
        noise: torch.Tensor,
    ) -> None:
        """Move ``weights`` by one step."""
        _drift_along(weights, displacement, gradient, self._config, self._n_beta)
        weights.add_(noise, alpha=math.sqrt(self._config.lr))

    def metric_product(self, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """Return ∇L·∇L', (chain,)."""
        return (one * other).sum(1)


class LmSgld:
    """SGLD with the noise of two successive steps averaged: √ε (R_t + R_{t+1}) / 2.

    On a quadratic its stationary law is exact at every stable step size, where SGLD's estimate is
    high by the factor 1 / (1 − εh/4) at curvature h; elsewhere its error is of second order in ε.
    So it takes several times larger steps at the same error. Noise in the gradient itself heats it
    as it heats SGLD.

    Source:
        Leimkuhler and Matthews 2013 (arXiv:1203.5428), the overdamped limit of BAOAB.
    """

    def __init__(self, config: SamplerConfig, *, n_beta: float) -> None:
        self._config = config
        self._n_beta = n_beta
        self._last_noise: torch.Tensor | None = None

    def apply(
        self,
        weights: torch.Tensor,
        displacement: torch.Tensor,
        gradient: torch.Tensor,
        noise: torch.Tensor,
    ) -> None:
        """Move ``weights`` by one step."""
        if self._last_noise is None:
            self._last_noise = torch.zeros_like(noise)  # the chain starts at w*, without a past
        _drift_along(weights, displacement, gradient, self._config, self._n_beta)
        half = 0.5 * math.sqrt(self._config.lr)
        weights.add_(self._last_noise, alpha=half).add_(noise, alpha=half)
        self._last_noise.copy_(noise)

    def metric_product(self, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """Return ∇L·∇L', (chain,)."""
        return (one * other).sum(1)


class RmspropSgld:
    """SGLD whose step is scaled per parameter by G = 1 / (√V̂ + eps).

    V follows the squares of the loss gradient alone (the pull towards w* is known, it tells nothing
    about the landscape). It starts at 1 and is bias-corrected, V̂_t = V_t / (1 − decay^t), so that
    the first steps are small; devinterp starts at 0 without correction.

    Where √V̂ is not small against eps, G follows the chain: large weights are moved less, linger,
    and raise the estimate (quadratic, eps 0.1 against gradients of 0.03: +9 %; SGLD +1 %).

    Source:
        Hitchcock and Hoogland 2025 (arXiv:2507.21449), after Li et al. 2016 (arXiv:1512.07666).
    """

    def __init__(self, config: SamplerConfig, *, n_beta: float) -> None:
        self._config = config
        self._n_beta = n_beta
        self._num_steps = 0
        self._second_moment: torch.Tensor | None = None

    def apply(
        self,
        weights: torch.Tensor,
        displacement: torch.Tensor,
        gradient: torch.Tensor,
        noise: torch.Tensor,
    ) -> None:
        """Update the second moments, then move ``weights`` by one step."""
        decay, lr = self._config.rmsprop_decay, self._config.lr
        if self._second_moment is None:
            self._second_moment = torch.ones_like(weights)
        self._num_steps += 1
        self._second_moment.mul_(decay).addcmul_(gradient, gradient, value=1 - decay)
        scale = self._scale()
        drift = gradient.mul_(self._n_beta).add_(displacement, alpha=self._config.localization)
        weights.addcmul_(scale, drift, value=-0.5 * lr)
        weights.addcmul_(scale.sqrt_(), noise, value=math.sqrt(lr))

    def metric_product(self, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """Return Σ G ∂L ∂L', (chain,), with the scale of the last step; NaN before the first."""
        if self._second_moment is None:
            return torch.full_like(one[:, 0], torch.nan)
        return (one * other).mul_(self._scale()).sum(1)

    def _scale(self) -> torch.Tensor:
        assert self._second_moment is not None, "apply makes it"
        corrected = self._second_moment / (1 - self._config.rmsprop_decay**self._num_steps)
        return corrected.sqrt_().add_(self._config.rmsprop_eps).reciprocal_()


def build_kernel(config: SamplerConfig, *, n_beta: float) -> Kernel:
    """Return a fresh update of the method that ``config`` names."""
    kernels = {"sgld": Sgld, "lm_sgld": LmSgld, "rmsprop_sgld": RmspropSgld}
    return kernels[config.method](config, n_beta=n_beta)


def _drift_along(
    weights: torch.Tensor,
    displacement: torch.Tensor,
    gradient: torch.Tensor,
    config: SamplerConfig,
    n_beta: float,
) -> None:
    """Move ``weights`` by −(ε/2)(nβ ∇L + γ(w − w*))."""
    weights.add_(gradient, alpha=-0.5 * config.lr * n_beta)
    if config.localization:
        weights.add_(displacement, alpha=-0.5 * config.lr * config.localization)
