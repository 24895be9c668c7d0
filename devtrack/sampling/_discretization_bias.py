"""What the size of a step adds to λ̂, foretold from the gradients that chains meet."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from devtrack.sampling._localization import localization_share
from devtrack.sampling.chain_record import Chains
from devtrack.sampling.config import SamplerConfig
from devtrack.sampling.diagnostics._failures import failed_chains
from devtrack.sampling.diagnostics._statistics import mean_of_finite

Floats = npt.NDArray[np.floating]


class DiscretizationBias(NamedTuple):
    """What a step of size ε adds to λ̂ at draws, where the loss is a quadratic.

    Shapes:
        All (chain, look), chains that hold; NaN where a look cannot tell. In units of λ̂.

    Attributes:
        from_step_size: (ε/8) nβ E[∇L·(nβ ∇L + γ(w − w*))], the error of SGLD's own discretisation,
            exact at every step size. LM-SGLD knows none; the pull's part is left out for
            RMSProp-SGLD.
        from_minibatches: (ε/8) nβ² σ² with σ² = E‖∇L_m − ∇L‖², what the choice of batch adds; less
            where the pull makes chains forget within an order of the batches. Nothing where there
            is one.

    Most chains walk through whole orders of the batches, whose noise cancels, as in gradient
    descent on L + (ε nβ / 8) σ² (Smith et al. 2021, arXiv:2101.12176): they avoid places where
    gradients are noisy, and looks at all batches come out too low by (ε/8) nβ² Cov(nβL, σ²), which
    is (ε/8) nβ² σ² where batches agree on w*. Yet a draw is met on the batch that the chain is
    about to step on and has gone long without, in first order of ε: (ε/4) nβ² σ² above the looks.
    The difference is left. Where chains forget sooner, noise heats them as their own does, by as
    much in a direction that the loss holds, and by nothing in one that the pull holds.

    Found of it: all on bowls, .5 to 1.1 on small networks and the tasks of
    ``experiments.bench.llc``, whose noise grows faster than their loss; twice as much where the
    noise is the same everywhere. At looks it is of second order for chains of the one kind and
    changes sign for the other: there it is told, and not taken out.
    """

    from_step_size: Floats
    from_minibatches: Floats

    @property
    def total(self) -> float:
        """Both together, in the mean over looks; 0 where chance makes it negative."""
        return max(mean_of_finite(self.from_step_size + self.from_minibatches), 0.0)


def discretization_bias(chains: Chains, config: SamplerConfig) -> DiscretizationBias:
    """Return what steps add to λ̂, from the squares of gradients along the chains that hold.

    Where steps are scaled per parameter the squares are (``Update.product``).
    """
    n_beta, localization = chains.n_beta, config.localization
    drawn = slice(config.num_burnin_steps, None)
    with np.errstate(over="ignore", invalid="ignore"):  # chains on their way to infinity
        values = n_beta * (chains.loss - chains.baseline)[:, drawn].mean(axis=1)
        _, holds = failed_chains(values, chains.num_parameters)
        noise = n_beta**2 * _gradient_noise(chains, holds, is_averaged=config.method == "lm_sgld")
        memory = 1.0
        if config.method != "rmsprop_sgld":
            memory = batch_order_memory(chains.num_batches, rate=config.lr * localization / 2)
        localization_share_ = localization_share(chains, mean_of_finite(values[holds]))
        constrained = (
            1.0 - min(max(localization_share_, 0.0), 1.0)
            if math.isfinite(localization_share_)
            else 1.0
        )
        from_minibatches = noise * (memory + (1 - memory) * constrained)  # (chain, look)
        from_step_size = 0.0 * noise
        if config.method != "lm_sgld":
            from_step_size = n_beta**2 * chains.squared_gradient[holds] - noise
        if config.method == "sgld":
            from_step_size = from_step_size + n_beta * localization * mean_of_finite(
                chains.virial[holds, drawn]
            )
        return DiscretizationBias(config.lr / 8 * from_step_size, config.lr / 8 * from_minibatches)


def batch_order_memory(num_batches: int, *, rate: float) -> float:
    """Return how much of an order of batches a chain still knows at its draws, mean over the order.

    The share that is left of Σ_j j = K (K − 1) / 2 steps before the draws of an order where each
    step forgets ``rate`` of what is there.

    Args:
        num_batches: Batches K in an order.
        rate: What a direction that the pull alone holds forgets per step, εγ/2.

    Example:
        >>> [round(remembered(16, rate=rate), 2) for rate in (0, 0.01, 0.1, 1)]
        [1.0, 0.95, 0.65, 0.12]
    """
    if num_batches == 1:
        return 1.0
    left = max(1.0 - rate, 0.0) ** np.arange(num_batches - 1)  # of the step j + 1 before, (j,)
    from_step_size = np.arange(num_batches - 1, 0, -1)  # draws of an order with so many before them
    return float(2 * (left * from_step_size).sum() / (num_batches * (num_batches - 1)))


def _gradient_noise(chains: Chains, holds: npt.NDArray[np.bool_], *, is_averaged: bool) -> Floats:
    """Return what the choice of batch adds to a squared gradient, (chain, look), where chains are.

    Far from w* it may be hundreds of times what it is there. Two batches in a row are two looks at
    one gradient, but for what the step between has changed: ½‖g₁ − g₂‖² is noise and that. With
    x = εk/2 at curvature k in all, gradients of SGLD are correlated by 1 − x and (1 − x)² over one
    and two steps, and (g₁ − g₀)·(g₁ − g₂) is noise alone, up to x²; those of LM-SGLD by 1 − x/2 and
    (1 − x/2)(1 − x), and it is half of both. In an order of K batches their noises are correlated
    by −1 / (K − 1).

    Args:
        chains: From ``sample``.
        holds: Which of them to ask, (chain,).
        is_averaged: Whether they were moved by LM-SGLD.
    """
    count = chains.num_batches
    change, bend = chains.gradient_diff_1[holds], chains.gradient_diff_2[holds]
    if count == 1:
        return np.zeros_like(change)
    if not np.isfinite(change).any():  # a look after every step
        return np.full_like(change, chains.gradient_noise)
    if not np.isfinite(bend).any():  # a look after every second step, or two batches
        bend = change
    noise = (change + bend) / 2 if is_averaged else bend
    return noise * (count - 1) / count
