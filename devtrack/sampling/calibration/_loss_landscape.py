"""What the landscape around snapshots looks like before any chain walks in it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from devtrack.model_state.isolation import isolated
from devtrack.sampling._baseline import take_baseline
from devtrack.sampling._objective import Objective
from devtrack.sampling._user_loss import LossFunction, allow_gradients

POWER_STEPS = 10
"""Products with the Hessian: the largest curvature is known to some 10 % (language model of 0.3M
weights: 11.4 to 12.5 after 10, 12.3 after 15)."""

CURVATURE_BATCHES = 2

DIFFERENCE_SHARE = 1e-3
"""Distance of the two gradients in a product, as a share of ‖w*‖ (of 1 where that is less): far
enough for single precision."""


def mean_loss(model: nn.Module, loss: LossFunction, batches: Sequence[Any]) -> float:
    """Return the loss over all batches at the model's weights."""
    measured = allow_gradients(loss)
    with isolated(seed=0), torch.no_grad():
        losses = [measured(model, batch).mean() for batch in batches]
        return float(torch.stack(losses).double().mean())


def zero_weight_loss(model: nn.Module, loss: LossFunction, batches: Sequence[Any]) -> float:
    """Return the loss of the model with all trainable weights at zero; they stay so.

    A network without weights tells inputs apart by nothing: classes are equally likely to it, and
    what it predicts is a constant. So its loss is that of knowing nothing, on the run's own data.
    """
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.zero_()
    return mean_loss(model, loss, batches)


def largest_curvature(
    model: nn.Module,
    loss: LossFunction,
    batches: Sequence[Any],
    *,
    generator: torch.Generator,
) -> float:
    """Return the Hessian's largest eigenvalue at the model's weights, in size; 0 if unknown.

    By power iteration on differences of gradients, over a few batches.
    """
    few = list(batches)[:CURVATURE_BATCHES]
    with isolated(seed=0), torch.enable_grad():
        objective = Objective(model, loss, few)
        take_baseline(objective)  # differences of gradients want one function
        anchor = objective.anchor
        step = DIFFERENCE_SHARE * max(float(anchor.norm()), 1.0)
        direction = torch.randn(
            anchor.shape, dtype=anchor.dtype, device=anchor.device, generator=generator
        )
        ahead, behind = torch.empty_like(anchor), torch.empty_like(anchor)
        size = 0.0
        for _ in range(POWER_STEPS):
            direction = direction / direction.norm()
            product = torch.zeros_like(anchor)
            for batch in range(len(few)):
                objective.gradient(anchor + step * direction, batch, out=ahead)
                objective.gradient(anchor - step * direction, batch, out=behind)
                product += (ahead - behind) / (2 * step * len(few))
            size = float(product.norm())
            if not (math.isfinite(size) and size > 0):
                return 0.0
            direction = product
    return size
