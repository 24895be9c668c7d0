"""Which inputs the model processes unlike trusted ones: mechanistic anomaly detection."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from devtrack.errors import DataError, MetricError
from devtrack.metrics._activations import forward_passes
from devtrack.metrics._proportions import binomial_se
from devtrack.metrics._sites import matching_modules
from devtrack.metrics.metric import MetricOptions, Subject
from devtrack.records import Row, without_nan

Array = npt.NDArray[np.floating]


@dataclass(frozen=True, kw_only=True)
class AnomalyRate(MetricOptions):
    """Share of examples whose activations lie further out than trusted ones do.

    At each site, mean and covariance are estimated from the activations of one half of the trusted
    examples. The covariance is shrunk towards a multiple of the identity (Ledoit & Wolf). The
    threshold comes from the Mahalanobis distances of the other half. At most a share
    ``false_positive_rate`` of new trusted examples lies beyond it, whatever their distribution
    (split conformal). ``<name>`` is the share of ``data`` that does. If the data are like the
    trusted ones it is near ``false_positive_rate``; above it, the model treats them differently.

    An example with activations that are not finite lies beyond every threshold. Trusted ones must
    all be finite: else nothing is known of the model's usual ways, and the row fails.

    The error combines the binomial error of the flagged examples with that of the threshold. The
    latter is found by bootstrap over the held-out half. ``attrs`` hold the threshold and the
    numbers of examples. They also hold how many had non-finite activations, and the median ratio of
    the distances to those of trusted examples.

    Args:
        sites: Globs of module paths.
        trusted_data: Examples known to be harmless (see ``fixed_batches``).
        data: Examples to judge; the run's batches by default.
        name: The rows' metric.
        false_positive_rate: Level of the threshold.
        pool: How positions become one vector per example: their ``mean``, or the ``last``.
        seed: Chooses the halves; the same at every snapshot.

    Raises:
        ConfigError: If the level or ``pool`` is not possible.

    Shapes:
        Activations (sample, …, unit) become (sample, unit).

    Source:
        Lee et al. 2018 (arXiv:1807.03888) for the distance; Ledoit & Wolf 2004 (J. Multivariate
        Analysis 88) for the covariance; Lei et al. 2018 (arXiv:1604.04173) for the threshold.
    """

    sites: str | Sequence[str]
    trusted_data: Any
    data: Any = None
    name: str = "anomalies"
    false_positive_rate: float = 0.05
    pool: Literal["mean", "last"] = "mean"
    seed: int = 0

    def compute(self, subject: Subject) -> Iterator[Row]:
        """Yield one row per site."""
        sites = [site for site, _ in matching_modules(subject.model, self.sites)]
        trusted = self._vectors(subject, sites, self.trusted_data)
        tested = self._vectors(subject, sites, self.data)
        for site in sites:
            yield self._row(site, trusted[site], tested[site])

    def _row(self, site: str, trusted: Array, tested: Array) -> Row:
        rng = np.random.default_rng(self.seed)
        order = rng.permutation(len(trusted))
        fitted, held_out = order[: len(order) // 2], order[len(order) // 2 :]
        _require_enough(len(held_out), self.false_positive_rate)
        _require_finite(trusted, site)
        mean, precision = shrunk_gaussian(trusted[fitted])
        normal = mahalanobis(trusted[held_out], mean, precision)
        distance = mahalanobis(tested, mean, precision)
        threshold = conformal_threshold(normal, self.false_positive_rate)
        rate = float((distance > threshold).mean())
        others = [
            float((distance > conformal_threshold(again, self.false_positive_rate)).mean())
            for again in rng.choice(normal, size=(200, len(normal)))
        ]
        attrs = {
            "false_positive_rate": self.false_positive_rate,
            "threshold": threshold,
            "num_fitted": len(fitted),
            "num_held_out": len(held_out),
            "num_tested": len(tested),
            "num_not_finite": int(np.isinf(distance).sum()),
            "median_ratio": without_nan(
                float(np.median(distance) / max(np.median(normal), 1e-300))
            ),
        }
        se = math.hypot(binomial_se(rate, len(tested)), float(np.std(others)))
        return Row(self.name, rate, se, site, attrs=attrs)

    def _vectors(self, subject: Subject, sites: Sequence[str], data: Any) -> dict[str, Array]:
        found: dict[str, list[torch.Tensor]] = {site: [] for site in sites}
        batches = subject.batches_of(data)
        for _, outputs in forward_passes(subject.model, batches, sites, subject.loss):
            for site in sites:
                found[site].append(_pooled(outputs[site], self.pool).float().cpu())
        return {site: torch.cat(parts).double().numpy() for site, parts in found.items()}


def shrunk_gaussian(x: Array) -> tuple[Array, Array]:
    """Return the mean (unit,) and the inverse of the shrunk covariance (unit, unit) of ``x``."""
    from sklearn.covariance import LedoitWolf

    fit = LedoitWolf().fit(x)
    return np.asarray(fit.location_), np.asarray(fit.get_precision())


def mahalanobis(x: Array, mean: Array, precision: Array) -> Array:
    """Return the Mahalanobis distance of each row of ``x`` from ``mean``, (sample,).

    Infinite for a row that is not finite.
    """
    finite = np.isfinite(x).all(axis=1)
    centred = x[finite] - mean
    distance = np.full(len(x), np.inf)
    distance[finite] = np.sqrt(np.einsum("ij,ij->i", centred @ precision, centred).clip(min=0))
    return distance


def conformal_threshold(distances: Array, rate: float) -> float:
    """Return the ⌈(n + 1)(1 − rate)⌉-th smallest distance."""
    rank = math.ceil((len(distances) + 1) * (1 - rate) - 1e-9)
    return float(np.sort(distances)[rank - 1])


def _require_enough(held_out: int, rate: float) -> None:
    needed = math.ceil(1 / rate - 1 - 1e-9)
    if held_out < max(needed, 2):
        raise DataError(
            f"trusted data with {held_out} held-out examples: a false-positive rate of {rate} needs"
            f" at least {max(needed, 2)}. Pass at least {2 * max(needed, 2)} trusted examples, or a"
            f" higher false_positive_rate=."
        )


def _require_finite(trusted: Array, site: str) -> None:
    if bad := int((~np.isfinite(trusted).all(axis=1)).sum()):
        raise MetricError(
            f"site {site!r}: the activations of {bad} of {len(trusted)} trusted examples are not "
            f"finite. Nothing can be said of the others; look at the loss and the learning rate."
        )


def _pooled(output: torch.Tensor, pool: str) -> torch.Tensor:
    if output.ndim <= 2:
        return output.reshape(len(output), -1)
    positions = output.flatten(1, -2)  # (sample, position, unit)
    return positions.mean(1) if pool == "mean" else positions[:, -1]
