"""Norms of the weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from devtrack.metrics.metric import Subject
from devtrack.metrics.sites import matching_modules
from devtrack.rows import Row


@dataclass(frozen=True, kw_only=True)
class WeightNorm:
    """Euclidean norm of all trainable parameters together, and of those below each chosen module.

    Exact, hence without a standard error.

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


def _norm(module: torch.nn.Module) -> float:
    parameters = [p.detach() for p in module.parameters() if p.requires_grad]
    if not parameters:
        return 0.0
    return float(torch.nn.utils.get_total_norm(parameters))
