"""Norms of the weights."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from devtrack.metrics._sites import matching_modules
from devtrack.metrics.metric import MetricOptions, Subject
from devtrack.records import Row


@dataclass(frozen=True, kw_only=True)
class WeightNorm(MetricOptions):
    """Euclidean norm of all trainable parameters together, and of those below each chosen module.

    Exact up to rounding in float32, hence without a standard error. A norm kept in bfloat16 would
    move in coarse steps, and squares overflow in float16, so both are widened. A single float32 sum
    over many weights is inaccurate. So rows of 1024 are added in float32, and the rows in float64,
    which takes no longer.

    Args:
        name: The rows' metric.
        sites: Globs of module paths, e.g. ``("blocks.*.mlp",)``; the whole model is always there.
    """

    name: str = "weight_norm"
    sites: str | Sequence[str] = ()

    def compute(self, subject: Subject) -> Iterator[Row]:
        """Yield a row for the model and one for each matching module."""
        yield Row(self.name, _norm(subject.model))
        for site, module in matching_modules(subject.model, self.sites):
            yield Row(self.name, _norm(module), site=site)


_ROW = 1024


def _norm(module: torch.nn.Module) -> float:
    return math.hypot(*(_length(p.detach()) for p in module.parameters() if p.requires_grad))


def _length(tensor: torch.Tensor) -> float:
    wide, flat = torch.promote_types(tensor.dtype, torch.float32), tensor.reshape(-1)
    whole = flat.numel() // _ROW * _ROW
    rows = torch.linalg.vector_norm(flat[:whole].view(-1, _ROW), dim=1, dtype=wide)
    rest = torch.linalg.vector_norm(flat[whole:], dtype=wide)
    return math.hypot(float(rows.cpu().double().norm()), float(rest))
