"""The training objective of a module as a plain function of (model, batch)."""

from __future__ import annotations

import inspect
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from devtrack.errors import MetricError


def training_step_loss(model: nn.Module, batch: Any) -> torch.Tensor:
    """Return what ``model.training_step`` returns as loss.

    Args:
        model: A LightningModule, detached from its Trainer (a copy), with ``log`` silenced.
        batch: What its train DataLoader yields, on the model's device.

    Raises:
        MetricError: If there is no ``training_step``, if it steps optimizers itself, or if it
            returns no loss.
    """
    step = getattr(model, "training_step", None)
    if step is None:
        raise MetricError(
            f"{type(model).__name__} without training_step: the loss is unknown. Pass "
            f"loss=lambda model, batch: … to the tracker."
        )
    if not getattr(model, "automatic_optimization", True):
        raise MetricError(
            f"{type(model).__name__} with manual optimization: its training_step takes optimizer "
            f"steps and cannot serve as a loss. Pass loss=lambda model, batch: … to the tracker."
        )
    extra = (0,) * _num_after_batch(step)  # batch_idx and dataloader_idx, if asked for
    output = step(batch, *extra)
    loss = output.get("loss") if isinstance(output, dict) else output
    if not isinstance(loss, torch.Tensor):
        raise MetricError(
            f"training_step of {type(model).__name__} returned {type(output).__name__}: must be a "
            f"tensor or a dict with 'loss'. Pass loss=lambda model, batch: … to the tracker."
        )
    return loss


def _num_after_batch(step: Any) -> int:
    function = getattr(step, "__func__", step)
    return _num_positional(function) - (1 if function is step else 2)  # the batch; self, if bound


@lru_cache(maxsize=64)
def _num_positional(function: Any) -> int:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in kinds for p in inspect.signature(function).parameters.values())
