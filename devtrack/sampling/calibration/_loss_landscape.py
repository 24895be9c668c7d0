"""Facts about the loss around snapshots: largest curvature, mean loss, loss at zero weights."""

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
"""Products with the Hessian. They find the largest curvature within some 10 %. Chosen by hand; not
fitted."""

CURVATURE_BATCHES = 2

DIFFERENCE_SHARE = 1e-3
"""Distance of the two gradients of a product, as a share of max(‖w*‖, 1). It is large enough for
single precision."""


def mean_loss(model: nn.Module, loss: LossFunction, batches: Sequence[Any]) -> float:
    """Return the loss over all batches at the model's weights."""
    measured = allow_gradients(loss)
    with isolated(seed=0), torch.no_grad():
        losses = [measured(model, batch).mean() for batch in batches]
        return float(torch.stack(losses).double().mean())


def zero_weight_loss(model: nn.Module, loss: LossFunction, batches: Sequence[Any]) -> float:
    """Return the loss of the model with all trainable weights at zero; they stay so.

    With all weights zero the output is constant. This is therefore the loss of a constant predictor
    on the run's own data.
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
