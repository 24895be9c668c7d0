"""Call the user's own loss: let it differentiate, and explain its failures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from devtrack.errors import MetricError

LossFunction = Callable[[nn.Module, Any], torch.Tensor]


def allow_gradients(loss: LossFunction) -> LossFunction:
    """Return ``loss`` so that it may differentiate even if its caller switched gradients off.

    Some losses differentiate themselves (physics-informed networks, gradient penalties). The first
    call finds out. Only for such a loss are gradients kept, which takes memory; its value is then
    detached.
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
            except (
                RuntimeError
            ):  # torch's, about tensors without a graph; any other is raised again below
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
    """Return the loss; raise an error that says what it must be if it is none.

    Args:
        loss: The user's function, which may expect other arguments.
        model, batch: Its arguments.
        hint: Advice for the user, if the batches may not be the intended ones.

    Raises:
        MetricError: If it fails on these arguments, or returns no tensor.
    """
    must = f"loss must return a tensor, as a function of (model, batch). {hint}".rstrip()
    mistaken = (TypeError, AttributeError, LookupError) if hint else (TypeError, AttributeError)
    try:
        value = loss(model, batch)
    except mistaken as error:  # as wrong arguments raise them; others pass
        raise MetricError(f"the loss raised {type(error).__name__}: {error}. {must}") from error
    if not isinstance(value, torch.Tensor):
        raise MetricError(f"the loss returned {value!r:.40}: {must}")
    return value
