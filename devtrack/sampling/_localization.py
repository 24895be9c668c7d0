"""Loss increase under the localizing Gaussian prior alone."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch

from devtrack.sampling._objective import Objective
from devtrack.sampling.chain_record import Chains
from devtrack.sampling.config import SamplerConfig

Floats = npt.NDArray[np.floating]

PRIOR_BUDGET = 0.01
"""Cost of the prior draws, as a share of the cost of all steps; a forward pass counts as a third of
a step. Chosen by hand; not fitted."""

DRAWS_MIN, DRAWS_MAX = 8, 64


def prior_loss_increase(
    objective: Objective, config: SamplerConfig, *, at_anchor: Floats, seed: int
) -> float:
    """Return E[L(w)] − L(w*) under the prior alone, w ~ N(w*, 1/γ); NaN without a prior.

    Draws are exact and independent. Each uses the next batch, and is paired with L(w*) there.

    Args:
        objective: The loss.
        config: The sampler's hyperparameters.
        at_anchor: L(w*) of every batch, (batch,).
        seed: Of the draws.
    """
    if not config.localization > 0:
        return math.nan
    affordable = round(3 * PRIOR_BUDGET * config.num_steps * config.num_chains)
    anchor = objective.anchor
    generator = torch.Generator(anchor.device).manual_seed(seed)
    point, scale, increase = torch.empty_like(anchor), config.localization**-0.5, 0.0
    count = min(max(affordable, DRAWS_MIN), DRAWS_MAX)
    for draw in range(count):
        batch = draw % objective.num_batches
        point.normal_(std=scale, generator=generator).add_(anchor)
        increase += float(objective.loss(point, batch)) - float(at_anchor[batch])
    return increase / count


def localization_share(chains: Chains, value: float) -> float:
    """Return the loss increase of the chains over that under the prior alone; NaN if unknown.

    On a quadratic without negative curvature it is a lower bound of the share of λ that
    localization hides. At curvature h a direction keeps s = nβh / (nβh + γ) and loses 1 − s. This
    is Σ s / Σ (s / (1 − s)), a mean of 1 − s that weights lost directions less. Where one large
    curvature dominates the increase, the bound is weak.

    Trained networks have large values at every setting that keeps chains near w*, so λ̂ always
    depends on γ there. The share is therefore reported, but does not mark an estimate as suspect.
    ``python -m experiments.bench.llc_trust`` prints it on problems with a known λ.

    Args:
        chains: From ``sample``.
        value: λ̂ from them.
    """
    if not (chains.n_beta > 0 and chains.prior_loss_increase > 0):
        return math.nan
    return value / chains.n_beta / chains.prior_loss_increase
