"""Activations at sites as plain matrices: one row per sample and position, one column per unit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from devtrack.data._fixed_batches import num_rows
from devtrack.errors import MetricError
from devtrack.metrics._sites import captured, matching_modules
from devtrack.metrics.metric import Subject


class Activations(NamedTuple):
    """What a module put out on the fixed data.

    Attributes:
        values: (row, unit), float32 on the CPU; samples in their order.
        sample: (row,), the sample that a row belongs to, counted over all batches. Rows of one
            sample are not independent: errors are taken over samples.
    """

    values: torch.Tensor
    sample: torch.Tensor


def activations_at(
    subject: Subject,
    sites: str | Sequence[str],
    *,
    data: Any = None,
    max_rows: int = 2048,
    unit_dim: int = -1,
) -> dict[str, Activations]:
    """Return the activations at every matching module, from forward passes of the loss.

    Args:
        sites: Globs of module paths.
        data: A metric's own data; else the run's batches.
        max_rows: At most about this many rows are kept, spread evenly over the batches. They are
            drawn once, so that the rows of two snapshots correspond.
        unit_dim: Dimension of the units: -1 for (sample, …, unit), 1 for (sample, channel, …).

    Raises:
        MetricError: If a glob matches nothing, if the loss reaches none of a module's outputs, or
            if an activation is not finite.
    """
    wanted = [site for site, _ in matching_modules(subject.model, sites)]
    batches = subject.batches_of(data)
    quota = max(1, max_rows // len(batches))
    found: dict[str, list[Activations]] = {site: [] for site in wanted}
    start = 0
    for batch, outputs in forward_passes(subject.model, batches, wanted, subject.loss):
        for site in wanted:
            found[site].append(_rows(outputs[site], start, quota, unit_dim))
        start += num_rows(batch)
    return {site: _joined(site, parts) for site, parts in found.items()}


def forward_passes(
    model: nn.Module,
    batches: Sequence[Any],
    sites: Sequence[str],
    forward: Callable[[nn.Module, Any], Any],
) -> Iterator[tuple[Any, dict[str, torch.Tensor]]]:
    """Yield every batch with the outputs of the modules ``sites``, without gradients.

    Args:
        sites: Module paths, no globs.
        forward: Calls the model on a batch.

    Raises:
        MetricError: If a module was not called, or returned no tensor.
    """
    with torch.no_grad(), captured(model, sites) as outputs:
        for batch in batches:
            outputs.clear()
            forward(model, batch)
            for site in sites:
                if site not in outputs:
                    raise MetricError(
                        f"site {site!r}: the loss never calls this module, or it returns no "
                        f"tensor. Choose a module on the way from the batch to the loss."
                    )
            yield batch, outputs


def flat_features(activation: torch.Tensor, label: torch.Tensor, site: str) -> torch.Tensor:
    """Return activations as (row, feature), a row for each label.

    Raises:
        MetricError: If there is not one label per sample or per position.
    """
    if label.shape == activation.shape[:-1]:
        return activation.reshape(-1, activation.shape[-1])
    if label.ndim == 1 and len(label) == len(activation):
        return activation.reshape(len(activation), -1)
    raise MetricError(
        f"labels of shape {tuple(label.shape)} for activations of shape {tuple(activation.shape)} "
        f"at site {site!r}: must be one label per sample or per position. Return a tensor of shape "
        f"{tuple(activation.shape[:1])} or {tuple(activation.shape[:-1])}."
    )


def _rows(output: torch.Tensor, start: int, quota: int, unit_dim: int) -> Activations:
    if output.ndim < 2:
        output = output.reshape(-1, 1)
    last = output.movedim(unit_dim, -1)  # (sample, …, unit)
    count = last[..., 0].numel()
    sample = torch.arange(count) // (count // len(last)) + start
    values = last.reshape(count, -1)
    if count > quota:
        # Of its own, with a constant seed: the same rows at every snapshot, and in every process.
        order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
        kept = order[:quota].sort().values
        values, sample = values[kept.to(values.device)], sample[kept]
    return Activations(values.float().cpu(), sample)


def _joined(site: str, parts: Sequence[Activations]) -> Activations:
    values = torch.cat([part.values for part in parts])
    if not values.isfinite().all():
        raise MetricError(
            f"site {site!r}: activations are not all finite. Nothing can be said of them; look at "
            f"the loss and the learning rate."
        )
    return Activations(values, torch.cat([part.sample for part in parts]))
