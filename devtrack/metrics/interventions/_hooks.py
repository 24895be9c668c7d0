"""Reading and replacing what a module puts out, or what it is given."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

import torch
from torch import nn

from devtrack.errors import ConfigError, MetricError
from devtrack.metrics._sites import matching_modules

Where = Literal["output", "input"]
Change = Callable[[torch.Tensor], torch.Tensor]


class Place(NamedTuple):
    """Where to intervene.

    Attributes:
        site: Name in the rows: the module's path, with ``.head.<h>`` for a head.
        module: The module.
        where: Whether its output or its (first) input is meant.
        head: Which part of the last dimension, and in how many equal parts it falls; None for all.
    """

    site: str
    module: nn.Module
    where: Where
    head: tuple[int, int] | None = None


def require_where(where: str, num_heads: int | None) -> None:
    """Raise ConfigError for an unknown ``where`` or a number of heads below 1."""
    if where not in ("output", "input"):
        raise ConfigError(f"where={where!r}: must be 'output' or 'input'. Use where='output'.")
    if num_heads is not None and num_heads < 1:
        raise ConfigError(f"num_heads={num_heads}: must be at least 1, or None for whole sites.")


def places(
    model: nn.Module, sites: str | Sequence[str], where: Where, num_heads: int | None
) -> list[Place]:
    """Return the matching modules, each once, or once for each head.

    Raises:
        MetricError: If a glob matches nothing.
    """
    found = matching_modules(model, sites)
    if num_heads is None:
        return [Place(site, module, where) for site, module in found]
    return [
        Place(f"{site}.head.{head}", module, where, (head, num_heads))
        for site, module in found
        for head in range(num_heads)
    ]


@contextmanager
def changed(place: Place, change: Change) -> Iterator[list[int]]:
    """Pass the tensor at ``place`` through ``change`` in every forward pass of the block.

    For a head, ``change`` gets and returns its part of the last dimension. Of a tuple the first
    element is meant.

    Yields:
        A list with one entry per replacement, so that a place that is never reached is noticed.

    Raises:
        MetricError: If there is no tensor, or it does not fall into the heads.
    """
    reached: list[int] = []

    def apply(value: Any) -> Any:
        if isinstance(value, tuple | list) and value:
            return type(value)([apply(value[0]), *value[1:]])
        if not isinstance(value, torch.Tensor):
            raise MetricError(
                f"site {place.site!r}: {place.where} of type {type(value).__name__} cannot be "
                f"replaced: must be a tensor, or a tuple that begins with one. Choose a module "
                f"inside it."
            )
        reached.append(len(reached))
        return _changed_part(value, place, change)

    if place.where == "input":
        handle = place.module.register_forward_pre_hook(lambda module, args: apply(args))
    else:
        handle = place.module.register_forward_hook(lambda module, args, output: apply(output))
    try:
        yield reached
    finally:
        handle.remove()


def activation_at(place: Place, run: Callable[[], Any]) -> torch.Tensor:
    """Return what stands at ``place`` while ``run()`` calls the model, (sample, …, unit).

    Raises:
        MetricError: If the place is not reached.
    """
    kept: list[torch.Tensor] = []

    def keep(value: torch.Tensor) -> torch.Tensor:
        kept.append(value.detach().clone())
        return value

    with changed(place, keep):
        run()
    require_reached(place, kept)
    return kept[-1]


def require_reached(place: Place, reached: Sequence[Any]) -> None:
    """Raise MetricError if nothing happened at ``place``."""
    if not reached:
        raise MetricError(
            f"site {place.site!r}: the forward pass never calls this module. Choose a module on the"
            f" way from the batch to the loss."
        )


def _changed_part(value: torch.Tensor, place: Place, change: Change) -> torch.Tensor:
    if place.head is None:
        return change(value)
    index, count = place.head
    if value.shape[-1] % count:
        raise MetricError(
            f"site {place.site!r}: {value.shape[-1]} units do not fall into {count} heads. Set "
            f"num_heads= to the number of heads whose outputs stand there side by side."
        )
    width = value.shape[-1] // count
    part = slice(index * width, (index + 1) * width)
    new = value.clone()
    new[..., part] = change(value[..., part])
    return new
