"""The loss on fixed data."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from devtrack.metrics.metric import MetricOptions, Subject
from devtrack.records import Row


@dataclass(frozen=True, kw_only=True)
class Loss(MetricOptions):
    """Mean loss over fixed batches, with the standard error that comes from their finite number.

    The objective is called on whole batches, as training calls it. A loss over pairs of samples, a
    sum, or a sequence with time first is defined on a whole batch only. The run's batches
    weigh equally, as they do in training; those of ``data`` weigh by their samples.

    The error comes from the spread over batches, or over samples where a ``loss=`` returns a loss
    for each. It says how well the data represent their population. The data are the same at every
    snapshot, so differences along a run are known better. With one batch and a scalar loss the
    error is unknown.

    Args:
        name: The rows' metric.
        data: What to measure on (see ``fixed_batches``); else the run's batches.

    Units:
        Those of the training objective.
    """

    name: str = "loss"
    data: Any = None

    def compute(self, subject: Subject) -> Iterator[Row]:
        """Yield one row."""
        batches = subject.batches_of(self.data)
        with torch.no_grad():
            losses = [subject.loss(subject.model, batch).double().cpu() for batch in batches]
        per_sample = all(loss.ndim > 0 and loss.numel() > 1 for loss in losses)
        if per_sample:
            each = torch.cat([loss.flatten() for loss in losses]).tolist()
            yield weighted_mean_row(self.name, each, [1.0] * len(each))
            return
        # training weighs its batches equally; a data set of one's own is a set of samples
        counts = [1.0 if self.data is None else float(subject.count(batch)) for batch in batches]
        yield weighted_mean_row(self.name, [float(loss.mean()) for loss in losses], counts)


def weighted_mean_row(name: str, means: list[float], weights: list[float]) -> Row:
    """Return the row of a mean over groups and its standard error, NaN for a single group."""
    total = sum(weights)
    mean = sum(m * w for m, w in zip(means, weights, strict=True)) / total
    if len(means) < 2:
        return Row(name, mean)
    variance = sum(w * (m - mean) ** 2 for m, w in zip(means, weights, strict=True))
    variance /= total * (len(means) - 1) / len(means)
    return Row(name, mean, se=math.sqrt(variance / len(means)))
