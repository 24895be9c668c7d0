"""What the pull towards w* does to the loss where nothing else holds the weights."""

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
"""What it may cost over the steps of all chains; a forward is a third of a step."""

DRAWS_MIN, DRAWS_MAX = 8, 64


def prior_loss_increase(
    objective: Objective, config: SamplerConfig, *, at_anchor: Floats, seed: int
) -> float:
    """Return E[L(w)] − L(w*) under the pull alone, where w ~ N(w*, 1/γ): independent exact draws.

    Each is taken on the next batch, and paired with L(w*) there. NaN without a pull.

    Args:
        objective: The loss.
        config: The sampler's settings.
        at_anchor: L(w*) of every batch, (batch,).
        seed: Of the draws.
    """
    if not config.localization > 0:
        return math.nan
    num_steps = config.num_burnin_steps + config.num_draws * config.num_steps_bw_draws
    affordable = round(3 * PRIOR_BUDGET * num_steps * config.num_chains)
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
    """Return how far the chains' loss rises over how far it rises under the pull alone.

    On a quadratic without negative curvature, λ has lost at least this share of itself to the pull.
    At curvature h a direction keeps s = nβh / (nβh + γ), and loses 1 − s. This is
    Σ s / Σ (s / (1 − s)), the mean of 1 − s with weights that are the smaller, the more is lost.
    Where one large curvature makes most of the rise, it is far less than what is lost.

    Gates (``experiments.bench.llc_trust``): up to .05 at good settings; .2 where λ̂ is 10 to 40 %
    too low; from .3 on where it is half of what it should be. Networks that learned a task have .4
    to 1 at all settings at which chains stay near them, and no λ̂ that γ has no part in, so that it
    is told and not doubted.

    Args:
        chains: From ``sample``.
        value: λ̂ from them.
    """
    if not (chains.n_beta > 0 and chains.prior_loss_increase > 0):
        return math.nan
    return value / chains.n_beta / chains.prior_loss_increase
