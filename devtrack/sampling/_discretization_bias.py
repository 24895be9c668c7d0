"""Bias of λ̂ from the finite step size and from gradient noise, predicted from gradients."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from devtrack.sampling._localization import localization_share
from devtrack.sampling.chain_record import Chains
from devtrack.sampling.config import SamplerConfig
from devtrack.sampling.diagnostics._statistics import mean_of_finite
from devtrack.sampling.kernels import kernel_class

Floats = npt.NDArray[np.floating]
Bools = npt.NDArray[np.bool_]


class DiscretizationBias(NamedTuple):
    """Predicted bias of λ̂ at step size ε, where the loss is a quadratic.

    Shapes:
        All (chain, evaluation), chains that count; NaN where it is unknown, as where an evaluation
        has too few gradients. In units of λ̂.

    Attributes:
        from_step_size: (ε/8) nβ E[∇L·(nβ ∇L + γ(w − w*))], the discretization error of SGLD, exact
            at every step size. It is 0 for LM-SGLD, which has none to first order, and NaN for a
            kernel whose bias is unknown. The term of the prior is left out for RMSProp-SGLD.
        from_minibatches: (ε/8) nβ² σ² with σ² = E‖∇L_m − ∇L‖², from the noise of minibatch
            gradients. It is smaller where chains decorrelate within one order of the batches, and
            0 with one batch.

    Chains step through whole orders of the batches, so the noise of an order cancels. They behave
    as gradient descent on L + (ε nβ / 8) σ² (Smith et al. 2021, arXiv:2101.12176) and avoid places
    with noisy gradients. Full-data evaluations are then too low by (ε/8) nβ² Cov(nβL, σ²). That is
    (ε/8) nβ² σ² if all batches share the minimum w*.

    At draws, however, the loss is evaluated on the next batch, which the chain has not used for the
    longest time. To first order in ε this adds (ε/4) nβ² σ² relative to full-data evaluations. The
    sum of the two effects remains as bias.

    If the chain decorrelates within one pass over the batches, gradient noise acts like additional
    injected noise. That holds in directions constrained by the loss. In directions constrained only
    by the localization term it has no effect.

    For full-data evaluations the bias from minibatches is of second order or of varying sign. It is
    then reported but not subtracted. ``python -m experiments.bench.llc`` compares predicted and
    measured bias; ``docs/notes/sampling.md`` has the result.
    """

    from_step_size: Floats
    from_minibatches: Floats

    @property
    def total(self) -> float:
        """Sum of both, averaged over evaluations; 0 where noise makes it negative, or NaN."""
        mean = mean_of_finite(self.from_step_size + self.from_minibatches)
        return mean if math.isnan(mean) else max(mean, 0.0)


def discretization_bias(
    chains: Chains, config: SamplerConfig, paired: Floats, is_valid: Bools
) -> DiscretizationBias:
    """Return the predicted bias, from squared gradients along the chains that count.

    Squares are taken in the metric of the steps (``Kernel.metric_product``).

    Args:
        chains: From ``sample``.
        config: The sampler's hyperparameters.
        paired: nβ (L(w_t) − L(w*)) on each draw's own batch.
        is_valid: Whether a chain counts.

    Shapes:
        paired: (chain, draw). is_valid: (chain,).
    """
    kernel = kernel_class(config.method)
    n_beta, gamma = chains.n_beta, config.localization
    with np.errstate(over="ignore", invalid="ignore"):  # chains on their way to infinity
        values = paired.mean(axis=1)
        counted = is_valid & np.isfinite(
            values
        )  # full-data draws may be finite where these are not
        noise = n_beta**2 * _gradient_noise(chains, counted, is_averaged=kernel.is_averaged)
        memory = 1.0
        if not kernel.is_preconditioned:
            memory = batch_order_memory(chains.num_batches, rate=config.lr * gamma / 2)
        prior_share = localization_share(chains, mean_of_finite(values[counted]))
        by_loss = 1.0 - min(max(prior_share, 0.0), 1.0) if math.isfinite(prior_share) else 1.0
        from_minibatches = noise * (memory + (1 - memory) * by_loss)  # (chain, evaluation)
        is_predicted = kernel.step_size_bias == "squared_gradients"
        from_step_size = 0.0 * noise if kernel.step_size_bias == "none" else np.nan * noise
        if is_predicted:
            from_step_size = n_beta**2 * chains.squared_gradient[counted] - noise
        if is_predicted and not kernel.is_preconditioned:
            drawn = slice(config.num_burnin_steps, None)
            prior_term = n_beta * gamma * mean_of_finite(chains.virial[counted, drawn])
            from_step_size = from_step_size + prior_term
        return DiscretizationBias(config.lr / 8 * from_step_size, config.lr / 8 * from_minibatches)


def batch_order_memory(num_batches: int, *, rate: float) -> float:
    """Return the fraction of batch noise from the same pass that is still present at the draws.

    It is averaged over the Σ_j j = K (K − 1) / 2 earlier steps of a pass, when each step decays the
    noise by ``rate``.

    Args:
        num_batches: Batches K in a pass.
        rate: Decay per step of a direction constrained only by localization, εγ/2.

    Example:
        >>> [round(batch_order_memory(16, rate=rate), 2) for rate in (0, 0.01, 0.1, 1)]
        [1.0, 0.95, 0.65, 0.12]
    """
    if num_batches == 1:
        return 1.0
    remaining = max(1.0 - rate, 0.0) ** np.arange(num_batches - 1)  # of the step j + 1 before, (j,)
    num_draws = np.arange(num_batches - 1, 0, -1)  # draws of a pass with such a step before them
    return float(2 * (remaining * num_draws).sum() / (num_batches * (num_batches - 1)))


def _gradient_noise(chains: Chains, is_valid: Bools, *, is_averaged: bool) -> Floats:
    """Return the gradient noise at the position of the chains, E‖∇L_m − ∇L‖².

    Far from w* it may be much larger than at w*. Two batches in a row give two estimates of one
    gradient, except for the change during the step between them. ½‖g₁ − g₂‖² is noise plus that
    change.

    Let x = εk/2 at total curvature k. Gradients of SGLD have correlations 1 − x and (1 − x)² over
    one and two steps. (g₁ − g₀)·(g₁ − g₂) is then noise alone, up to x². Gradients of LM-SGLD have
    correlations 1 − x/2 and (1 − x/2)(1 − x), and the mean of both statistics is noise alone. In an
    order of K batches the noises have correlation −1 / (K − 1).

    Args:
        chains: From ``sample``.
        is_valid: Whether a chain counts, (chain,).
        is_averaged: Whether the kernel averages the noise of two steps, as LM-SGLD does.

    Shapes:
        Returns: (chain, evaluation), in the metric of the steps.
    """
    count = chains.num_batches
    diff_1, diff_2 = chains.gradient_diff_1[is_valid], chains.gradient_diff_2[is_valid]
    if count == 1:
        return np.zeros_like(diff_1)
    if not np.isfinite(diff_1).any():  # an evaluation after every step
        return np.full_like(diff_1, chains.gradient_noise)
    if not np.isfinite(diff_2).any():  # an evaluation after every second step, or two batches
        diff_2 = diff_1
    noise = (diff_1 + diff_2) / 2 if is_averaged else diff_2
    return noise * (count - 1) / count
