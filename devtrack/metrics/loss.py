"""The loss on fixed data."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from devtrack.data.fixed_batches import num_rows, rows
from devtrack.metrics.metric import Subject
from devtrack.rows import Row


@dataclass(frozen=True, kw_only=True)
class Loss:
    """Mean loss over fixed batches, with the standard error that comes from their finite number.

    The error is taken from ``num_groups`` equal groups of samples: the loss of a group is a mean
    over its samples, so that the spread of the group means measures the sampling error whether or
    not the objective can be had per sample. It says how well the data stand for their population;
    since the data are the same at every snapshot, differences along a run are known better.

    Args:
        name: The rows' metric.
        data: What to measure on (see ``fixed_batches``); else the run's batches.
        num_groups: Groups over all batches; 2 at least.

    Units:
        Those of the training objective.
    """

    name: str = "loss"
    data: Any = None
    num_groups: int = 16

    def compute(self, subject: Subject) -> Iterator[Row]:
        """Yield one row."""
        batches = subject.batches_of(self.data)
        per_batch = max(1, self.num_groups // len(batches))
        means, weights = [], []
        with torch.no_grad():
            for batch in batches:
                count = num_rows(batch)
                size = max(1, count // per_batch)
                for start in range(0, count, size):
                    part = rows(batch, slice(start, start + size))
                    means.append(float(subject.loss(subject.model, part).mean()))
                    weights.append(float(num_rows(part)))
        yield weighted_mean_row(self.name, means, weights)


def weighted_mean_row(name: str, means: list[float], weights: list[float]) -> Row:
    """Return the row of a mean over groups and its standard error, NaN for a single group."""
    total = sum(weights)
    mean = sum(m * w for m, w in zip(means, weights, strict=True)) / total
    if len(means) < 2:
        return Row(name, mean)
    variance = sum(w * (m - mean) ** 2 for m, w in zip(means, weights, strict=True))
    variance /= total * (len(means) - 1) / len(means)
    return Row(name, mean, se=math.sqrt(variance / len(means)))
