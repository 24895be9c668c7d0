"""Batches as one, so that chains in one call may look at different ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.utils import _pytree as pytree


class Stacked:
    """Batches of equal shapes, stacked tensor by tensor.

    Shapes:
        tensors: each (batch, ...).
    """

    def __init__(self, tensors: list[torch.Tensor], spec: pytree.TreeSpec, fixed: list[Any]):
        self._tensors = tensors
        self._spec = spec
        self._fixed = fixed

    def take(self, batch: torch.Tensor) -> list[torch.Tensor]:
        """Return the tensors of some batches, each (chain, ...)."""
        return [tensor[batch] for tensor in self._tensors]

    def rebuild(self, tensors: list[torch.Tensor]) -> Any:
        """Return the batch that one chain's tensors belong to."""
        moving = iter(tensors)
        leaves = [next(moving) if leaf is _MOVING else leaf for leaf in self._fixed]
        return pytree.tree_unflatten(leaves, self._spec)


_MOVING = object()


def stack(batches: Sequence[Any]) -> Stacked | None:
    """Stack batches; None if their shapes or their other contents differ."""
    flat, specs = zip(*(pytree.tree_flatten(batch) for batch in batches), strict=True)
    if any(spec != specs[0] for spec in specs):
        return None
    tensors: list[torch.Tensor] = []
    fixed: list[Any] = []
    for leaves in zip(*flat, strict=True):
        first = leaves[0]
        if isinstance(first, torch.Tensor):
            if any(x.shape != first.shape or x.dtype != first.dtype for x in leaves):
                return None
            tensors.append(torch.stack(leaves))
            fixed.append(_MOVING)
        elif all(_same(x, first) for x in leaves):
            fixed.append(first)
        else:
            return None
    return Stacked(tensors, specs[0], fixed)


def _same(left: Any, right: Any) -> bool:
    plain = isinstance(left, str | int | float) and isinstance(right, type(left))
    return left is right or (plain and left == right)
