"""How many directions the activations of a module use."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from devtrack.metrics._activations import Activations, activations_at
from devtrack.metrics._standard_errors import groups_of, jackknife_se
from devtrack.metrics.metric import MetricOptions, Subject
from devtrack.records import Row, Status


@dataclass(frozen=True, kw_only=True)
class Dimensionality(MetricOptions):
    """Effective rank and participation ratio of the activations at each site.

    Both are 1 when all variance lies on one line and d when d directions share it equally. The
    effective rank counts weak directions too; the participation ratio hardly does.

    - ``<name>/effective_rank`` = exp(−Σ p_i ln p_i), p_i = σ_i / Σσ, with σ the singular values of
      the centred activations. It is a plug-in value: it grows with the number of rows until every
      direction is sampled. Compare it along a run, not between models.
    - ``<name>/participation_ratio`` = (tr Σ)² / tr Σ². Both parts are estimated without bias
      (U-statistics), so that few rows in many dimensions do not lower it. The plug-in value could
      not exceed the number of rows.

    Standard errors leave out one group of samples at a time.

    Args:
        sites: Globs of module paths.
        name: Prefix of the rows.
        data: What to measure on (see ``fixed_batches``); else the run's batches.
        max_rows: Activation vectors to use; time grows with rows · units · min(rows, units).
        unit_dim: -1 for activations (sample, …, unit), 1 for (sample, channel, …).
        num_groups: Groups of samples for the standard error; 2 at least.

    Raises:
        ConfigError: If ``max_rows`` or ``num_groups`` is too small.

    Source:
        Roy & Vetterli 2007 (EUSIPCO), "The effective rank"; Gao et al. 2017
        (doi:10.1101/214262) for the participation ratio; Himeno & Yamada 2014 (J. Multivariate
        Analysis 130), eq. 2.2, for the unbiased parts.
    """

    sites: str | Sequence[str]
    name: str = "representation"
    data: Any = None
    max_rows: int = 2048
    unit_dim: int = -1
    num_groups: int = 10

    def compute(self, subject: Subject) -> Iterator[Row]:
        """Yield two rows per site."""
        found = activations_at(
            subject, self.sites, data=self.data, max_rows=self.max_rows, unit_dim=self.unit_dim
        )
        for site, activations in found.items():
            yield self._row("effective_rank", effective_rank, site, activations)
            yield self._row("participation_ratio", participation_ratio, site, activations)

    def _row(
        self,
        kind: str,
        function: Callable[[torch.Tensor], float],
        site: str,
        activations: Activations,
    ) -> Row:
        x = activations.values.double()
        groups = groups_of(activations.sample, self.num_groups)
        value = function(x)
        attrs: dict[str, Any] = {"num_rows": len(x), "num_units": x.shape[1]}
        if not math.isfinite(value):
            attrs["error"] = f"the {len(x)} activation vectors do not vary enough for this number"
            return Row(f"{self.name}/{kind}", math.nan, math.nan, site, Status.FAILED, attrs)
        se = jackknife_se(lambda kept: function(x[kept]), groups)
        return Row(f"{self.name}/{kind}", value, se, site, attrs=attrs)


def effective_rank(x: torch.Tensor) -> float:
    """Return exp of the entropy of the normalised singular values of centred ``x`` (row, unit)."""
    eigenvalues = torch.linalg.eigvalsh(_small_gram(x - x.mean(0))).clamp(min=0)
    return entropy_rank(eigenvalues.sqrt())


def entropy_rank(singular_values: torch.Tensor) -> float:
    """Return exp(−Σ p ln p) for p = σ / Σσ; NaN when all are 0."""
    p = singular_values / singular_values.sum()
    return math.exp(float(-torch.special.xlogy(p, p).sum())) if p.isfinite().all() else math.nan


def participation_ratio(x: torch.Tensor) -> float:
    """Return (tr Σ)² / tr Σ² of the rows of ``x`` (row, unit), each part estimated without bias.

    NaN for fewer than four rows, or where the estimate of tr Σ² is not positive.
    """
    n = len(x)
    if n < 4:
        return math.nan
    centred = x - x.mean(0)
    gram = _small_gram(centred)
    trace = float(gram.trace()) / (n - 1)
    trace_of_square = float(gram.square().sum()) / (n - 1) ** 2
    fourth = float(centred.square().sum(1).square().sum()) / (n - 1)
    # the common factor (n − 1) / (n (n − 2)(n − 3)) cancels
    squared_trace = 2 * trace_of_square + (n * n - 3 * n + 1) * trace**2 - n * fourth
    square = (n - 1) * (n - 2) * trace_of_square + trace**2 - n * fourth
    return squared_trace / square if square > 0 else math.nan


def _small_gram(x: torch.Tensor) -> torch.Tensor:
    return x.T @ x if x.shape[1] <= len(x) else x @ x.T
