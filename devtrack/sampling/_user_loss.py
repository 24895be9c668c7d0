"""The user's own loss: called so that it may differentiate, and explained where it fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from devtrack.errors import MetricError

LossFunction = Callable[[nn.Module, Any], torch.Tensor]


def allow_gradients(loss: LossFunction) -> LossFunction:
    """Return ``loss`` for callers that may have switched gradients off: it need not notice.

    A loss may differentiate on its way (physics-informed networks, gradient penalties). Whether it
    does shows at its first call: only then are gradients kept, which take memory, and what a caller
    without gradients gets is detached.
    """
    differentiates: bool | None = None

    def call(model: nn.Module, batch: Any) -> torch.Tensor:
        nonlocal differentiates
        if torch.is_grad_enabled() or differentiates is False:
            return loss(model, batch)
        if differentiates is None:
            streams = torch.random.get_rng_state()
            try:
                value = loss(model, batch)
            except RuntimeError:  # torch's, of tensors without a graph; another comes again below
                torch.random.set_rng_state(streams)
            else:
                differentiates = False
                return value
        with torch.enable_grad():
            value = loss(model, batch)
        differentiates = True
        return value.detach() if isinstance(value, torch.Tensor) else value

    return call


def call_loss(loss: LossFunction, model: nn.Module, batch: Any, *, hint: str = "") -> torch.Tensor:
    """Return the loss; where it is none, say what it must be.

    Args:
        loss: Of the user's, who may take it for another function, or swap its arguments.
        model, batch: What it is called with.
        hint: What to do next, where the caller doubts that these are the batches meant.

    Raises:
        MetricError: If it cannot take them so, or returns no tensor.
    """
    must = f"loss must return a tensor, as a function of (model, batch). {hint}".rstrip()
    mistaken = (TypeError, AttributeError, LookupError) if hint else (TypeError, AttributeError)
    try:
        value = loss(model, batch)
    except mistaken as error:  # as wrong arguments raise them; others come through
        raise MetricError(f"the loss raised {type(error).__name__}: {error}. {must}") from error
    if not isinstance(value, torch.Tensor):
        raise MetricError(f"the loss returned {value!r:.40}: {must}")
    return value
