"""Sums over activations that pass by: a probe on a million tokens in the memory of a few matrices.

For 1024 units, 10 groups take 10 · 8 MiB, however many rows go by.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

Array = npt.NDArray[np.float64]

_ROWS_AT_ONCE = 8192


class Moments(NamedTuple):
    """Sums over rows of x (unit,) and y (target,), both less a pivot, in float64.

    Attributes:
        num_rows: Rows.
        x, y: Σx (unit,), Σy (target,).
        xx, xy, yy: Σxxᵀ (unit, unit), Σxyᵀ (unit, target), Σy² (target,).
    """

    num_rows: float
    x: Array
    y: Array
    xx: Array
    xy: Array
    yy: Array

    def plus(self, other: Moments, sign: float = 1.0) -> Moments:
        """Return the sums over the rows of both, or of ``self`` without ``other`` at sign −1."""
        return Moments(
            self.num_rows + sign * other.num_rows,
            self.x + sign * other.x,
            self.y + sign * other.y,
            self.xx + sign * other.xx,
            self.xy + sign * other.xy,
            self.yy + sign * other.yy,
        )


class GroupedMoments:
    """Moments of each of several groups of rows, added up batch by batch.

    A pivot, the mean of the first batch, is taken off, so that sums of squares keep their precision
    where means are large.

    Args:
        num_groups: Groups 0 … num_groups − 1.
    """

    def __init__(self, num_groups: int) -> None:
        self._num_groups = num_groups
        self._pivot: tuple[torch.Tensor, Array] | None = None
        self._sums: list[Moments] = []

    @property
    def groups(self) -> list[Moments]:
        """The moments of each group; empty before the first row."""
        return self._sums

    def add(self, x: torch.Tensor, y: Array, group: npt.NDArray[np.integer]) -> None:
        """Add rows.

        Args:
            x: (row, unit), of any dtype, on any device.
            y: (row, target).
            group: (row,).
        """
        if self._pivot is None:
            mean = torch.stack([part.float().mean(0) for part in x.split(_ROWS_AT_ONCE)]).mean(0)
            self._pivot = (mean.cpu().double(), y.mean(0))
            shape = (x.shape[1], y.shape[1])
            self._sums = [_nothing(*shape) for _ in range(self._num_groups)]
        for name in np.unique(group):
            rows = np.flatnonzero(group == name)
            for start in range(0, len(rows), _ROWS_AT_ONCE):
                some = rows[start : start + _ROWS_AT_ONCE]
                part = x[torch.as_tensor(some, device=x.device)].cpu().double() - self._pivot[0]
                self._sums[name] = self._sums[name].plus(
                    _moments(part.numpy(), y[some] - self._pivot[1])
                )


def _moments(x: Array, y: Array) -> Moments:
    return Moments(len(x), x.sum(0), y.sum(0), x.T @ x, x.T @ y, np.square(y).sum(0))


def _nothing(units: int, targets: int) -> Moments:
    zeros = np.zeros
    return Moments(
        0.0,
        zeros(units),
        zeros(targets),
        zeros((units, units)),
        zeros((units, targets)),
        zeros(targets),
    )
