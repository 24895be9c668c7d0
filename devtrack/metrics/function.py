"""Any function of (model, batch) as a metric."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from devtrack.data._fixed_batches import num_rows
from devtrack.metrics.loss import weighted_mean_row
from devtrack.metrics.metric import MetricOptions, Subject
from devtrack.records import Row


@dataclass(frozen=True)
class FunctionMetric(MetricOptions):
    """The mean of ``function(model, batch)`` over fixed batches.

    Args:
        name: The rows' metric.
        function: Returns a number, or a tensor with one value per sample: only then can a
            standard error be given for a single batch. A dict of these gives one row a key,
            named ``<name>/<key>``.
        data: What to measure on (see ``fixed_batches``); else the run's batches.

    Example:
        >>> def correct(model, batch):
        ...     x, y = batch
        ...     return model(x).argmax(-1) == y
        >>> FunctionMetric("test_accuracy", correct, data=[]).name
        'test_accuracy'
    """

    name: str
    function: Callable[[nn.Module, Any], Any]
    data: Any = None

    def compute(self, subject: Subject) -> Iterator[Row]:
        """Yield one row, or one per key."""
        values: dict[str, list[torch.Tensor]] = {}
        weights: list[float] = []
        with torch.no_grad():
            for batch in subject.batches_of(self.data):
                result = self.function(subject.model, batch)
                named = result if isinstance(result, Mapping) else {"": result}
                for key, value in named.items():
                    tensor = torch.as_tensor(value, dtype=torch.float64).reshape(-1)
                    values.setdefault(key, []).append(tensor.cpu())
                weights.append(float(num_rows(batch)))
        for key, parts in values.items():
            name = f"{self.name}/{key}" if key else self.name
            if all(part.numel() == 1 for part in parts):
                yield weighted_mean_row(name, [float(part) for part in parts], weights)
            else:
                each = torch.cat(parts).tolist()
                yield weighted_mean_row(name, each, [1.0] * len(each))
