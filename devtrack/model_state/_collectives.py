"""What works otherwise beside a training than in it: collectives, and reentrant checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
import torch.utils.checkpoint

from devtrack.errors import MetricError

_COLLECTIVES = (
    "allreduce",
    "allreduce_coalesced",
    "allgather",
    "allgather_coalesced",
    "_allgather_base",
    "alltoall",
    "alltoall_base",
    "barrier",
    "broadcast",
    "gather",
    "recv",
    "reduce",
    "reduce_scatter",
    "_reduce_scatter_base",
    "scatter",
    "send",
)


@contextmanager
def no_collectives() -> Iterator[None]:
    """Make every collective of ``torch.distributed`` raise instead of waiting for other ranks.

    Inside, ``is_initialized()`` is False, so that code which asks works on this rank alone. A
    collective on a group that was made before raises MetricError.
    """
    if not (dist.is_available() and dist.is_initialized()):
        yield
        return
    world, kind = dist.GroupMember.WORLD, dist.ProcessGroup
    own = {name: vars(kind)[name] for name in _COLLECTIVES if name in vars(kind)}
    dist.GroupMember.WORLD = None
    for name in own:
        setattr(kind, name, _refuse(name))
    try:
        yield
    finally:
        for name, method in own.items():
            setattr(kind, name, method)
        dist.GroupMember.WORLD = world


def _refuse(name: str) -> Callable[..., Any]:
    def collective(*args: Any, **kwargs: Any) -> Any:
        raise MetricError(
            f"torch.distributed.{name}: only one rank measures, and would wait for the others for "
            f"ever. Pass loss=lambda model, batch: … that needs this rank's batch alone."
        )

    return collective


@contextmanager
def plain_checkpoints() -> Iterator[None]:
    """Let ``torch.utils.checkpoint(use_reentrant=True)`` keep its activations.

    Its backward pass runs the forward pass again, with the weights that the module has by then. A
    sampler hands its weights in from outside and has taken them away: the gradient would be that
    of another point.
    """
    own = torch.utils.checkpoint.CheckpointFunction
    torch.utils.checkpoint.CheckpointFunction = _Plain  # type: ignore[misc] - looked up by name
    try:
        yield
    finally:
        torch.utils.checkpoint.CheckpointFunction = own  # type: ignore[misc]


class _Plain:
    """Has the one method that ``checkpoint`` calls."""

    @staticmethod
    def apply(function: Callable[..., Any], preserve_rng_state: bool, *args: Any) -> Any:
        """Call the function."""
        return function(*args)
