"""How much a representation has changed: linear CKA between two snapshots of one run."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch

from devtrack.errors import ConfigError, MetricError
from devtrack.metrics._activations import (
    Activations,
    activations_at,
)
from devtrack.metrics._standard_errors import groups_of, jackknife_se
from devtrack.metrics.metric import MetricOptions, Subject, late_start_reasons
from devtrack.records import Row, Status


class _Seen(NamedTuple):
    step: int
    at: dict[str, Activations]


@dataclass(frozen=True, kw_only=True)
class CKA(MetricOptions):
    """Linear centred kernel alignment of the activations now with those of another snapshot.

    CKA = HSIC(K, L) / √(HSIC(K, K) · HSIC(L, L)) for K = XXᵀ, L = YYᵀ on the same rows. It is 1
    when the two agree up to a rotation and a scale, 0 when they have nothing linear in common. HSIC
    is the
    unbiased estimator, since the plain one tends to 1 when there are fewer rows than units; a value
    slightly below 0 is therefore possible. Standard errors leave out one group of samples at a
    time.

    The last snapshot of a run is not known while it runs. So the reference is ``previous``, the
    snapshot observed before this one, or ``first``, the first that this object saw. The metric
    remembers it in memory: a training that is resumed starts anew. Then ``previous`` has no row for
    one snapshot, and ``first`` marks its rows suspect whenever its reference is not step 0. The key
    ``reference_step`` of ``attrs`` names the reference. To compare with any other weights, in
    particular with the last ones after a run, give them: ``reference=torch.load(…)`` or
    ``reference=module.state_dict()``; that survives a resume.

    Args:
        sites: Globs of module paths.
        reference: ``"previous"``, ``"first"``, or a state dict of the model.
        name: The rows' metric; ``cka_<reference>`` by default.
        data: What to measure on (see ``fixed_batches``); else the run's batches.
        max_rows: Activation vectors to use; memory and time grow with its square.
        unit_dim: -1 for activations (sample, …, unit), 1 for (sample, channel, …).
        num_groups: Groups of samples for the standard error; 2 at least.

    Raises:
        ConfigError: If ``reference`` is another word, or a number is too small.

    Source:
        Kornblith et al. 2019 (arXiv:1905.00414); the unbiased HSIC of Song et al. 2012
        (JMLR 13), eq. 5, as Nguyen et al. 2021 (arXiv:2010.15327) use it.
    """

    sites: str | Sequence[str]
    reference: Literal["previous", "first"] | dict[str, torch.Tensor] = "previous"
    name: str = ""
    data: Any = None
    max_rows: int = 1024
    unit_dim: int = -1
    num_groups: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.reference, dict) and self.reference not in ("previous", "first"):
            raise ConfigError(
                f"reference={self.reference!r}: must be 'previous', 'first' or a state dict. The "
                f"last snapshot is not known during a run. Pass its state dict afterwards."
            )
        if not self.name:
            word = self.reference if isinstance(self.reference, str) else "reference"
            object.__setattr__(self, "name", f"cka_{word}")

    def compute(self, subject: Subject) -> Iterator[Row]:
        """Yield a row per site; none where there is nothing yet to compare with."""
        now = _Seen(subject.step, self._activations(subject))
        reference = self._reference(subject)
        if reference is None or self.reference == "previous":
            subject.set_state(self, now)
        if reference is not None:
            for site, (values, sample) in now.at.items():
                yield self._row(site, values, reference.at[site].values, sample, reference.step)

    def _activations(self, subject: Subject) -> dict[str, Activations]:
        return activations_at(
            subject, self.sites, data=self.data, max_rows=self.max_rows, unit_dim=self.unit_dim
        )

    def _reference(self, subject: Subject) -> _Seen | None:
        seen = subject.get_state(self)
        if seen is None and not isinstance(self.reference, str):
            own = {k: v.clone() for k, v in subject.model.state_dict().items()}
            try:
                subject.model.load_state_dict(self.reference)
                seen = _Seen(-1, self._activations(subject))
            except RuntimeError as error:
                raise MetricError(
                    f"reference of {len(self.reference)} tensors does not fit the model: {error}. "
                    f"Pass the state_dict() of the same module."
                ) from error
            finally:
                subject.model.load_state_dict(own)
            subject.set_state(self, seen)
        return seen

    def _row(
        self,
        site: str,
        now: torch.Tensor,
        then: torch.Tensor,
        sample: torch.Tensor,
        reference_step: int,
    ) -> Row:
        k, other = gram_without_diagonal(now.double()), gram_without_diagonal(then.double())
        groups = groups_of(sample, self.num_groups)
        value = unbiased_cka(k, other)
        attrs: dict[str, Any] = {"num_rows": len(now), "num_units": now.shape[1]}
        if reference_step >= 0:
            attrs["reference_step"] = reference_step
        if not math.isfinite(value):
            attrs["error"] = f"the {len(now)} activation vectors do not vary enough at one snapshot"
            return Row(self.name, math.nan, math.nan, site, Status.FAILED, attrs)
        se = jackknife_se(
            lambda kept: unbiased_cka(k[kept[:, None], kept], other[kept[:, None], kept]), groups
        )
        reasons = late_start_reasons(reference_step) if self.reference == "first" else []
        if reasons:
            attrs["reasons"] = reasons
        status = Status.SUSPECT if reasons else Status.OK
        return Row(self.name, value, se, site, status, attrs)


def gram_without_diagonal(x: torch.Tensor) -> torch.Tensor:
    """Return XXᵀ with zeros on the diagonal, (row, row), for the centred ``x`` (row, unit).

    The unbiased HSIC does not depend on the centre; taking it off first keeps precision.
    """
    centred = x - x.mean(0)
    return (centred @ centred.T).fill_diagonal_(0)


def unbiased_cka(k: torch.Tensor, other: torch.Tensor) -> float:
    """Return CKA from two Gram matrices (row, row) with zero diagonals; NaN where undefined."""
    if len(k) < 4:
        return math.nan
    scale = _hsic(k, k) * _hsic(other, other)
    return _hsic(k, other) / math.sqrt(scale) if scale > 0 else math.nan


def _hsic(k: torch.Tensor, other: torch.Tensor) -> float:
    """Return n(n − 3) times the unbiased HSIC."""
    n = len(k)
    k_sums, other_sums = k.sum(1), other.sum(1)  # (row,)
    product = (k * other).sum() + k_sums.sum() * other_sums.sum() / ((n - 1) * (n - 2))
    return float(product - 2 * (k_sums @ other_sums) / (n - 2))
