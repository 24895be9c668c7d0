"""Smaller batches from larger ones: a step's cost is its samples, the data stay the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from devtrack.batches import num_rows, rows
from devtrack.errors import DataError


def split_batches(batches: Sequence[Any], size: int) -> list[Any]:
    """Cut every batch into parts of ``size`` samples, and leave what remains of a batch out.

    Args:
        batches: Batches of tensors with a row per sample.
        size: Samples per part.

    Raises:
        DataError: If no batch has that many samples.
    """
    parts = [
        rows(batch, slice(start, start + size))
        for batch in batches
        for start in range(0, num_rows(batch) - size + 1, size)
    ]
    if not parts:
        most = max((num_rows(batch) for batch in batches), default=0)
        raise DataError(
            f"batch_size={size}: the batches have at most {most} samples. "
            f"Use batch_size={most} or less, or give the tracker more data."
        )
    return parts
