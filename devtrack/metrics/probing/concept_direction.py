"""Directions that stand for a concept, and how far they turn while the model trains."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from devtrack.data._fixed_batches import num_rows
from devtrack.errors import ConfigError, MetricError
from devtrack.metrics._activations import flat_features, forward_passes
from devtrack.metrics._sites import matching_modules
from devtrack.metrics.metric import MetricOptions, Subject, late_start_reasons
from devtrack.records import Row, Status

Array = npt.NDArray[np.float64]


class _Sums(NamedTuple):
    """Of each group of samples, for rows without and with the concept.

    Attributes:
        step: Where they were taken.
        totals: (group, 2, unit), sums of activations.
        counts: (group, 2), rows.
    """

    step: int
    totals: Array
    counts: Array


@dataclass(frozen=True, kw_only=True)
class ConceptDirection(MetricOptions):
    """The difference of mean activations with and without a concept, and its drift.

    - ``concept/<name>/norm``: length of the direction Δ = mean(with) − mean(without).
    - ``concept/<name>/cosine_previous`` or ``/cosine_first``: cosine of Δ with that of the previous
      snapshot, or of the first one. It is 1 where Δ kept its direction. No
      row for the first snapshot. ``attrs["reference_step"]`` says which one it was. Earlier
      snapshots are kept in memory. After a resume ``previous`` misses one row, and ``first`` marks
      its rows suspect where its reference is not step 0.

    Activations stream by; kept are the sums of ``num_groups`` random groups of samples. Errors are
    from a bootstrap over these groups, drawn alike for both snapshots since the data are the same.
    Noise in Δ makes cosines too small. The key ``split_half`` of ``attrs`` is the cosine between
    the directions of two halves of the data at this snapshot. It is what noise alone leaves of 1.
    Near a cosine of
    1, its maximum, the error is an order of magnitude only.

    Args:
        site: Module path.
        labels: Maps a batch to booleans, one per sample, or one per position.
        name: Of the concept.
        reference: ``"previous"`` or ``"first"``.
        data: What to measure on (see ``fixed_batches``); else the run's batches.
        num_groups: Groups of samples for the bootstrap; 4 at least.
        seed: Chooses groups and bootstrap draws; the same at every snapshot.

    Raises:
        ConfigError: If ``reference`` is another word, or there are fewer than 4 groups.

    Source:
        Kim et al. 2018 (arXiv:1711.11279) for concept directions; Marks & Tegmark 2023
        (arXiv:2310.06824) for the difference of means.
    """

    site: str
    labels: Callable[[Any], torch.Tensor]
    name: str
    reference: Literal["previous", "first"] = "previous"
    data: Any = None
    num_groups: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.reference not in ("previous", "first"):
            raise ConfigError(
                f"reference={self.reference!r}: must be 'previous' or 'first'. The last snapshot "
                f"is not known during a run. Use reference='first'."
            )
        if self.num_groups < 4:
            raise ConfigError(f"num_groups={self.num_groups}: must be at least 4. Use 32.")

    def compute(self, subject: Subject) -> Iterator[Row]:
        """Yield the norm, and the cosine where there is a snapshot to compare with."""
        matching_modules(subject.model, (self.site,))
        now = self._sums(subject)
        rng = np.random.default_rng(self.seed)
        draws = rng.multinomial(self.num_groups, [1 / self.num_groups] * self.num_groups, size=200)
        prefix = f"concept/{self.name}"
        attrs: dict[str, Any] = {
            "num_with": int(now.counts[:, 1].sum()),
            "num_without": int(now.counts[:, 0].sum()),
            "split_half": self._split_half(now),
        }
        norms = np.linalg.norm(directions(now, draws), axis=1)
        value = float(np.linalg.norm(self._direction(now)))
        yield Row(f"{prefix}/norm", value, float(np.nanstd(norms)), self.site, attrs=attrs)
        then: _Sums | None = subject.get_state(self)
        if then is None or self.reference == "previous":
            subject.set_state(self, now)
        if then is not None:
            yield self._cosine_row(now, then, draws, attrs)

    def _cosine_row(
        self, now: _Sums, then: _Sums, draws: npt.NDArray[np.integer], attrs: dict[str, Any]
    ) -> Row:
        metric = f"concept/{self.name}/cosine_{self.reference}"
        attrs = {**attrs, "reference_step": then.step}
        value = float(cosines(self._direction(now), self._direction(then)))
        if not math.isfinite(value):
            attrs["error"] = "at one of the snapshots the direction has no length"
            return Row(metric, math.nan, math.nan, self.site, Status.FAILED, attrs)
        se = float(np.nanstd(cosines(directions(now, draws), directions(then, draws))))
        reasons = late_start_reasons(then.step) if self.reference == "first" else []
        if reasons:
            attrs["reasons"] = reasons
        return Row(metric, value, se, self.site, Status.SUSPECT if reasons else Status.OK, attrs)

    def _direction(self, sums: _Sums) -> Array:
        return directions(sums, np.ones((1, self.num_groups)))[0]

    def _split_half(self, sums: _Sums) -> float | None:
        half = np.arange(self.num_groups) % 2
        both = directions(sums, np.stack([half, 1 - half]))
        value = float(cosines(both[0], both[1]))
        return value if math.isfinite(value) else None  # JSON cannot say NaN

    def _sums(self, subject: Subject) -> _Sums:
        batches = subject.batches_of(self.data)
        order = np.random.default_rng(self.seed).permutation(sum(map(num_rows, batches)))
        group_of = torch.as_tensor(order % self.num_groups)  # (sample,)
        counts = torch.zeros(2 * self.num_groups)
        totals: torch.Tensor | None = None
        start = 0
        for batch, outputs in forward_passes(subject.model, batches, [self.site], subject.loss):
            label = self.labels(batch)
            x = flat_features(outputs[self.site], label, self.site).float().cpu()
            has = label.reshape(-1).cpu().bool()
            count = num_rows(batch)
            own = group_of[start : start + count].repeat_interleave(len(has) // count)
            cell = 2 * own + has.long()  # (row,)
            if totals is None:
                totals = torch.zeros(2 * self.num_groups, x.shape[1], dtype=torch.float64)
            totals.index_add_(0, cell, x.double())
            counts += torch.bincount(cell, minlength=2 * self.num_groups)
            start += count
        assert totals is not None
        shape = (self.num_groups, 2)
        found = _Sums(
            subject.step, totals.reshape(*shape, -1).numpy(), counts.reshape(shape).double().numpy()
        )
        if not found.counts.sum(0).all():
            without, with_it = found.counts.sum(0).astype(int)
            raise MetricError(
                f"concept {self.name!r} on {with_it} rows with it and {without} without: both are "
                f"needed. Pass data= that holds both."
            )
        return found


def directions(sums: _Sums, weights: npt.NDArray[Any]) -> Array:
    """Return the direction under each weighting of the groups, (draw, unit); weights (draw, group).

    NaN where a weighting leaves no row with, or none without, the concept.
    """
    totals = np.einsum("bg,gcu->bcu", weights, sums.totals)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = totals / (weights @ sums.counts)[..., None]
    return means[:, 1] - means[:, 0]


def cosines(a: Array, b: Array) -> Array:
    """Return the cosine along the last dimension; NaN for a vector without length."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)
