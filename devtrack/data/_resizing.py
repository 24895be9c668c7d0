"""Batches of another size: a step costs as much as its samples, the data stay the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree as pytree

from devtrack.data._fixed_batches import num_rows, rows
from devtrack.errors import DataError, MetricError


def resize_batches(batches: Sequence[Any], size: int) -> list[Any]:
    """Cut every batch into parts of ``size`` samples, and leave what remains of a batch out.

    Where no batch has that many, they are joined first, and what remains of all is left out.

    Args:
        batches: Batches of tensors with a row per sample.
        size: Samples per part.

    Raises:
        DataError: If all batches together have not that many samples, or they cannot be joined.
    """
    counts = [num_rows(batch) for batch in batches]
    if sum(counts) < size:
        raise DataError(
            f"batch_size={size}: the batches have {sum(counts)} samples in all. "
            f"Use batch_size={sum(counts)} or less, or give the tracker more data."
        )
    if max(counts) < size:
        batches, counts = [_joined(batches, size)], [sum(counts)]
    return [
        rows(batch, slice(start, start + size))
        for batch, count in zip(batches, counts, strict=True)
        for start in range(0, count - size + 1, size)
    ]


def require_mean_over_parts(
    loss: Callable[[Any], torch.Tensor], batches: Sequence[Any], parts: Sequence[Any], size: int
) -> None:
    """Refuse batches of another size where the loss is not the mean over its samples.

    A loss over pairs of samples, a sum, or sequences with time first mean another thing on a part.

    Args:
        loss: The objective on a batch, at one point of the weights.
        batches: As training met them.
        parts: From ``resize_batches``.
        size: Samples per part.

    Raises:
        MetricError: If the mean over the parts of a batch is not the loss of the batch.
    """
    whole, cut = (batches[0], parts) if num_rows(batches[0]) > size else (parts[0], batches)
    count = num_rows(whole) // num_rows(cut[0])
    whole = rows(whole, slice(0, count * num_rows(cut[0])))
    with torch.no_grad():
        expected, again = (float(loss(whole).double().mean()) for _ in range(2))
        found = sum(float(loss(part).double().mean()) for part in cut[:count]) / max(count, 1)
    is_random = expected != again  # then the two means differ by chance
    if not is_random and not np.isclose(found, expected, rtol=1e-3, atol=1e-6, equal_nan=True):
        raise MetricError(
            f"batch_size={size}: the loss of a batch is {expected:.6g} and the mean over its parts "
            f"{found:.6g}, so a part means another thing. Leave batch_size out, which keeps "
            f"training's own batches."
        )


def _joined(batches: Sequence[Any], size: int) -> Any:
    flat, specs = zip(*(pytree.tree_flatten(batch) for batch in batches), strict=True)
    try:
        if any(spec != specs[0] for spec in specs):
            raise ValueError("they are built differently")
        leaves = [_joined_leaves(leaves, batches) for leaves in zip(*flat, strict=True)]
    except (ValueError, RuntimeError) as error:
        most = max(num_rows(batch) for batch in batches)
        raise DataError(
            f"batch_size={size}: the batches have at most {most} samples and cannot be joined "
            f"({str(error).splitlines()[0]}). Use batch_size={most}, or pass data= in larger ones."
        ) from error
    return pytree.tree_unflatten(leaves, specs[0])


def _joined_leaves(leaves: Sequence[Any], batches: Sequence[Any]) -> Any:
    if all(
        isinstance(leaf, torch.Tensor) and leaf.ndim > 0 and len(leaf) == num_rows(batch)
        for leaf, batch in zip(leaves, batches, strict=True)
    ):
        return torch.cat(list(leaves))
    first = leaves[0]
    if isinstance(first, torch.Tensor):
        same = all(isinstance(leaf, torch.Tensor) and torch.equal(leaf, first) for leaf in leaves)
    else:
        same = all(leaf is first or leaf == first for leaf in leaves)
    if not same:
        raise ValueError("they differ in more than their samples")
    return first
