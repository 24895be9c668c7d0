"""Units that do nothing: dead, dormant and saturated ones."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from devtrack.metrics._activations import activations_at
from devtrack.metrics._standard_errors import groups_of, jackknife_se
from devtrack.metrics.metric import MetricOptions, Subject
from devtrack.records import Row

# Output ranges of the activation functions that have two bounds.
_BOUNDS: dict[type[nn.Module], tuple[float, float]] = {
    nn.Tanh: (-1.0, 1.0),
    nn.Sigmoid: (0.0, 1.0),
    nn.Softsign: (-1.0, 1.0),
    nn.Hardsigmoid: (0.0, 1.0),
    nn.ReLU6: (0.0, 6.0),
}


@dataclass(frozen=True, kw_only=True)
class UnitActivity(MetricOptions):
    """Shares of the units at each site that are dead, dormant or saturated.

    - ``<name>/dead``: output 0 on every row, the sense of the word for ReLU. No standard error:
      a unit that slept on all rows may fire on others, which no resampling of these rows can show.
    - ``<name>/dormant``: E|h_i| at most ``dormant_below`` times its mean over the site's units.
    - ``<name>/saturated``: share of all outputs that lie within ``margin`` of the range's ends. It
      exists for activation functions with two bounds, or where ``bounds`` are given.

    Standard errors leave out one group of samples at a time; for ``dormant`` this measures how many
    units sit near the threshold.

    Args:
        sites: Globs of paths of activation functions, e.g. ``("blocks.*.act",)``.
        name: Prefix of the rows.
        data: What to measure on (see ``fixed_batches``); else the run's batches.
        dormant_below: Threshold τ of the dormancy score.
        bounds: Lower and upper end of the outputs; None looks at the module's class.
        margin: Share of the range that counts as its end.
        max_rows: Activation vectors to use.
        unit_dim: -1 for activations (sample, …, unit), 1 for (sample, channel, …).
        num_groups: Groups of samples for the standard error; 2 at least.

    Raises:
        ConfigError: If ``max_rows`` or ``num_groups`` is too small.

    Source:
        Sokar et al. 2023 (arXiv:2302.12902), def. 3.1, for dormant units and τ = 0.025.
    """

    sites: str | Sequence[str]
    name: str = "unit_activity"
    data: Any = None
    dormant_below: float = 0.025
    bounds: tuple[float, float] | None = None
    margin: float = 0.01
    max_rows: int = 8192
    unit_dim: int = -1
    num_groups: int = 10

    def compute(self, subject: Subject) -> Iterator[Row]:
        """Yield two or three rows per site."""
        found = activations_at(
            subject, self.sites, data=self.data, max_rows=self.max_rows, unit_dim=self.unit_dim
        )
        for site, (values, sample) in found.items():
            groups = groups_of(sample, self.num_groups)
            attrs = {"num_rows": len(values), "num_units": values.shape[1]}
            dead = (values == 0).all(0).double().mean()
            yield Row(f"{self.name}/dead", float(dead), math.nan, site, attrs=attrs)

            def dormant(kept: torch.Tensor, values: torch.Tensor = values) -> float:
                return dormant_share(values[kept], self.dormant_below)

            everything = torch.arange(len(values))
            se = jackknife_se(dormant, groups)
            yield Row(f"{self.name}/dormant", dormant(everything), se, site, attrs=attrs)
            bounds = self.bounds or _bounds_of(subject.model.get_submodule(site))
            if bounds is not None:
                margin = self.margin * (bounds[1] - bounds[0])
                at_end = (values <= bounds[0] + margin) | (values >= bounds[1] - margin)
                per_row = at_end.double().mean(1)  # (row,)
                se = jackknife_se(lambda kept, p=per_row: float(p[kept].mean()), groups)
                yield Row(f"{self.name}/saturated", float(per_row.mean()), se, site, attrs=attrs)


def dormant_share(values: torch.Tensor, threshold: float) -> float:
    """Return the share of units with E|h_i| ≤ threshold · mean_k E|h_k|, for (row, unit).

    1 when every unit is 0.
    """
    strength = values.abs().double().mean(0)  # (unit,)
    return float((strength <= threshold * strength.mean()).double().mean())


def _bounds_of(module: nn.Module) -> tuple[float, float] | None:
    if isinstance(module, nn.Hardtanh) and not isinstance(module, nn.ReLU6):
        return float(module.min_val), float(module.max_val)
    return next((b for kind, b in _BOUNDS.items() if isinstance(module, kind)), None)
