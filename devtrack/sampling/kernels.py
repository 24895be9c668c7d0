"""Transition kernels of stochastic-gradient Langevin dynamics, on flat weights.

All chains of a group lie in one (chain, parameter) array. A step is a handful of whole-array
operations, so its cost does not depend on the number of layers.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal, Protocol

import torch

from devtrack.sampling.config import Method, SamplerConfig

WARMUP_MEMORIES = 7.0
"""Burn-in of RMSProp-SGLD in memories 1 / (1 − decay) of its second moments. Chosen by hand on a
classifier; not fitted."""

StepSizeBias = Literal["squared_gradients", "none", "unknown"]


class Kernel(Protocol):
    """One step of a sampler, in place.

    Attributes:
        is_averaged: Whether the noise of two successive steps is averaged.
        is_preconditioned: Whether each parameter has a step size of its own.
        step_size_bias: Bias of λ̂ to first order in the step size: ``squared_gradients`` predict it,
            or it is 0 (``none``). ``unknown``: nobody has derived it. NULL is stored then.
        reference_supported: Whether devinterp has this kernel.
        step_search_method: Kernel that the search for a step size runs in its place.
    """

    is_averaged: ClassVar[bool]
    is_preconditioned: ClassVar[bool]
    step_size_bias: ClassVar[StepSizeBias]
    reference_supported: ClassVar[bool]
    step_search_method: ClassVar[Method]

    def __init__(self, config: SamplerConfig, *, n_beta: float) -> None: ...

    @staticmethod
    def warmup_steps(config: SamplerConfig) -> int:
        """Return the steps after which the kernel's own state has forgotten its start."""
        ...

    def apply(
        self,
        weights: torch.Tensor,
        displacement: torch.Tensor,
        gradient: torch.Tensor,
        noise: torch.Tensor,
    ) -> None:
        """Move ``weights``; ``gradient`` and ``noise`` may be overwritten.

        Args:
            weights: Positions of the chains.
            displacement: w − w*.
            gradient: ∇L_m(w).
            noise: Standard normal.

        Shapes:
            All (chain, parameter).
        """
        ...

    def metric_product(self, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """Return the product of two gradients in the metric G of the steps.

        Shapes:
            one, other: (chain, parameter). Returns: (chain,), Σ G ∂L ∂L'.
        """
        ...


class Sgld:
    """Δw = −(ε/2)(nβ ∇L(w) + γ(w − w*)) + √ε N(0, I).

    Source:
        Lau et al. 2023 (arXiv:2308.12108), algorithm 1.
    """

    is_averaged: ClassVar[bool] = False
    is_preconditioned: ClassVar[bool] = False
    step_size_bias: ClassVar[StepSizeBias] = "squared_gradients"
    reference_supported: ClassVar[bool] = True
    step_search_method: ClassVar[Method] = "sgld"

    def __init__(self, config: SamplerConfig, *, n_beta: float) -> None:
        self._config = config
        self._n_beta = n_beta

    @staticmethod
    def warmup_steps(config: SamplerConfig) -> int:
        """Return 0: the kernel has no state."""
        return 0

    def apply(
        self,
        weights: torch.Tensor,
        displacement: torch.Tensor,
        gradient: torch.Tensor,
        noise: torch.Tensor,
    ) -> None:
        """Move ``weights`` by one step."""
        _add_drift(weights, displacement, gradient, self._config, self._n_beta)
        weights.add_(noise, alpha=math.sqrt(self._config.lr))

    def metric_product(self, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """Return ∇L·∇L', (chain,)."""
        return (one * other).sum(1)


class LmSgld:
    """SGLD with the noise of two successive steps averaged: √ε (R_t + R_{t+1}) / 2.

    On a quadratic the stationary law is exact at every stable step size. SGLD's estimate is too
    high there, by the factor 1 / (1 − εh/4) at curvature h. On other losses the error of LM-SGLD is
    of second order in ε. It therefore takes several times larger steps at the same error. Gradient
    noise biases it as it biases SGLD.

    Source:
        Leimkuhler and Matthews 2013 (arXiv:1203.5428), the overdamped limit of BAOAB.
    """

    is_averaged: ClassVar[bool] = True
    is_preconditioned: ClassVar[bool] = False
    step_size_bias: ClassVar[StepSizeBias] = "none"
    reference_supported: ClassVar[bool] = False
    step_search_method: ClassVar[Method] = "sgld"

    def __init__(self, config: SamplerConfig, *, n_beta: float) -> None:
        self._config = config
        self._n_beta = n_beta
        self._last_noise: torch.Tensor | None = None

    @staticmethod
    def warmup_steps(config: SamplerConfig) -> int:
        """Return 0: the state is the noise of one step."""
        return 0

    def apply(
        self,
        weights: torch.Tensor,
        displacement: torch.Tensor,
        gradient: torch.Tensor,
        noise: torch.Tensor,
    ) -> None:
        """Move ``weights`` by one step."""
        if self._last_noise is None:
            self._last_noise = torch.zeros_like(noise)  # the first step has no predecessor
        _add_drift(weights, displacement, gradient, self._config, self._n_beta)
        half = 0.5 * math.sqrt(self._config.lr)
        weights.add_(self._last_noise, alpha=half).add_(noise, alpha=half)
        self._last_noise.copy_(noise)

    def metric_product(self, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """Return ∇L·∇L', (chain,)."""
        return (one * other).sum(1)


class RmspropSgld:
    """SGLD whose step is scaled per parameter by G = 1 / (√V̂ + eps).

    V is the running mean of the squared loss gradient; the gradient of the prior is left out. V
    starts at 1 and is bias-corrected, V̂_t = V_t / (1 − decay^t), so the first steps are small.
    devinterp starts V at 0 without a correction.

    Where √V̂ is not small against eps, G depends on the position of the chain. Large weights then
    move less and stay longer, which biases λ̂ upwards (``docs/notes/sampling.md``).

    Source:
        Hitchcock and Hoogland 2025 (arXiv:2507.21449), after Li et al. 2016 (arXiv:1512.07666).
    """

    is_averaged: ClassVar[bool] = False
    is_preconditioned: ClassVar[bool] = True
    step_size_bias: ClassVar[StepSizeBias] = "squared_gradients"
    reference_supported: ClassVar[bool] = True
    step_search_method: ClassVar[Method] = "rmsprop_sgld"

    def __init__(self, config: SamplerConfig, *, n_beta: float) -> None:
        self._config = config
        self._n_beta = n_beta
        self._num_steps = 0
        self._second_moment: torch.Tensor | None = None

    @staticmethod
    def warmup_steps(config: SamplerConfig) -> int:
        """Return the steps after which the second moments have forgotten their initial value.

        They start at 1. Where gradients are small, the steps keep growing until then.
        """
        return round(WARMUP_MEMORIES / (1 - config.rmsprop_decay))

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


_KERNELS: dict[str, type[Kernel]] = {
    "sgld": Sgld,
    "lm_sgld": LmSgld,
    "rmsprop_sgld": RmspropSgld,
}


def kernel_class(method: Method) -> type[Kernel]:
    """Return the class of a kernel by its name."""
    return _KERNELS[method]


def build_kernel(config: SamplerConfig, *, n_beta: float) -> Kernel:
    """Return a fresh kernel of the method that ``config`` names."""
    return kernel_class(config.method)(config, n_beta=n_beta)


def _add_drift(
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
