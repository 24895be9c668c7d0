"""What a component does for the loss: the loss without it, minus the loss with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch

from devtrack.data._fixed_batches import num_rows, rows
from devtrack.errors import ConfigError, MetricError
from devtrack.metrics.interventions._hooks import (
    Change,
    Place,
    Where,
    activation_at,
    changed,
    places,
    require_reached,
    require_where,
)
from devtrack.metrics.loss import weighted_mean_row
from devtrack.metrics.metric import LossFunction, MetricOptions, Subject
from devtrack.records import Row

Kind = Literal["zero", "mean", "resample"]


@dataclass(frozen=True, kw_only=True)
class Ablation(MetricOptions):
    """Change of the loss, or of a behaviour, when a site's activations are taken away.

    - ``zero``: replaced by 0, which may be far from anything the model has seen.
    - ``mean``: replaced by their mean over all samples and positions of the data: what is the same
      everywhere stays.
    - ``resample``: replaced by those of another sample of the same batch: the distribution stays,
      the connection to the input goes.

    The value is effect(ablated) − effect(clean). Its error is that of a mean over ``num_groups``
    groups of samples, each measured with and without, so that what is common to both cancels.

    Args:
        sites: Globs of module paths.
        kind: What the activations are replaced by.
        effect: Maps (model, batch) to a number or to one per sample; the loss by default. For a
            behaviour: ``lambda model, batch: (model(batch[0]).argmax(-1) == batch[1]).float()``.
        name: The rows' metric; ``ablation_<kind>`` by default.
        where: ``output`` or ``input`` of the modules; of a tuple the first tensor.
        num_heads: Ablate equal parts of the last dimension one by one, at sites
            ``<module>.head.<h>``. Heads stand side by side at the input of an attention's output
            projection: ``sites=("*.out_proj",), where="input", num_heads=8``.
        unit_dim: -1 for activations (sample, …, unit), 1 for (sample, channel, …); for ``mean``.
        data: What to measure on (see ``fixed_batches``); else the run's batches.
        num_groups: Groups over all batches; 2 at least.
        seed: Pairs the samples for ``resample``; the same pairs at every snapshot.

    Raises:
        ConfigError: If ``kind`` or ``where`` is another word, or a number is too small.

    Source:
        Chan et al. 2022, "Causal scrubbing", for resampling; Zhang & Nanda 2023
        (arXiv:2309.16042) on the choice between the three.
    """

    sites: str | Sequence[str]
    kind: Kind = "mean"
    effect: LossFunction | None = None
    name: str = ""
    where: Where = "output"
    num_heads: int | None = None
    unit_dim: int = -1
    data: Any = None
    num_groups: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in ("zero", "mean", "resample"):
            raise ConfigError(
                f"kind={self.kind!r}: must be 'zero', 'mean' or 'resample'. Use kind='mean'."
            )
        if self.num_groups < 2:
            raise ConfigError(f"num_groups={self.num_groups}: must be at least 2. Use 16.")
        require_where(self.where, self.num_heads)
        if not self.name:
            object.__setattr__(self, "name", f"ablation_{self.kind}")

    @torch.no_grad()
    def compute(self, subject: Subject) -> Iterator[Row]:
        """Yield one row per site or head."""
        batches = subject.batches_of(self.data)
        groups = sample_groups(batches, self.num_groups)
        weights = [float(part.stop - part.start) for _, part in groups]
        clean = [self._effect(subject, rows(batches[i], part)) for i, part in groups]
        base = weighted_mean_row(self.name, clean, weights).value
        for place in places(subject.model, self.sites, self.where, self.num_heads):
            replacement = self._replacement(subject, place, batches)
            differences = []
            for (index, part), before in zip(groups, clean, strict=True):
                with changed(place, replacement(index, part)) as reached:
                    differences.append(self._effect(subject, rows(batches[index], part)) - before)
                require_reached(place, reached)
            row = weighted_mean_row(self.name, differences, weights)
            yield replace(row, site=place.site, attrs={"clean": base})

    def _effect(self, subject: Subject, part: Any) -> float:
        effect = self.effect or subject.loss
        return float(torch.as_tensor(effect(subject.model, part)).cpu().double().mean())

    def _replacement(
        self, subject: Subject, place: Place, batches: Sequence[Any]
    ) -> Callable[[int, slice], Change]:
        """Return what gives the change for some samples of a batch."""
        if self.kind == "zero":
            return lambda index, part: torch.zeros_like
        effect = self.effect or subject.loss
        found = [activation_at(place, lambda b=b: effect(subject.model, b)) for b in batches]
        if self.kind == "mean":
            mean = _mean(found, self.unit_dim)
            return lambda index, part: lambda now: mean.expand_as(now)
        # of its own and seeded, so that a sample has the same partner at every snapshot
        generator = torch.Generator().manual_seed(self.seed)
        other = [x[_partners(len(x), place, generator)] for x in found]
        return lambda index, part: _from_other(place, other[index], part, num_rows(batches[index]))


def sample_groups(batches: Sequence[Any], num_groups: int) -> list[tuple[int, slice]]:
    """Return (index of the batch, its samples) of about ``num_groups`` groups over all batches."""
    per_batch = max(1, num_groups // len(batches))
    found = []
    for index, batch in enumerate(batches):
        count = num_rows(batch)
        size = max(1, count // per_batch)
        found += [(index, slice(i, min(i + size, count))) for i in range(0, count, size)]
    return found


def _mean(activations: Sequence[torch.Tensor], unit_dim: int) -> torch.Tensor:
    """Return the mean over all but the units, in a shape that broadcasts."""
    dims = [d for d in range(activations[0].ndim) if d != unit_dim % activations[0].ndim]
    sums = [x.sum(dims, keepdim=True, dtype=torch.float32) for x in activations]
    total = torch.stack(sums).sum(0)
    count = sum(x.numel() // x.shape[unit_dim] for x in activations)
    return (total / count).to(activations[0].dtype)


def _partners(count: int, place: Place, generator: torch.Generator) -> torch.Tensor:
    """Return another sample for each, (sample,): the next one in a random circle."""
    if count < 2:
        raise MetricError(
            f"site {place.site!r}: {count} sample in a batch, resampling needs at least 2. Pass "
            f"data= with larger batches, or use kind='mean'."
        )
    order = torch.randperm(count, generator=generator)
    partners = torch.empty_like(order)
    partners[order] = order.roll(1)
    return partners


def _from_other(place: Place, other: torch.Tensor, part: slice, count: int) -> Change:
    def change(now: torch.Tensor) -> torch.Tensor:
        if len(other) != count or other[part].shape != now.shape:
            raise MetricError(
                f"site {place.site!r}: activations of shape {tuple(other.shape)} for {count} "
                f"samples: resampling needs one row per sample, in one shape for all. Choose a "
                f"site before samples are flattened, or use kind='mean'."
            )
        return other[part]

    return change
