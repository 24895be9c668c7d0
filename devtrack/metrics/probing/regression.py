"""Regression probes: how much of a number can be read off an activation by a linear map."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from devtrack.data._fixed_batches import num_rows
from devtrack.errors import MetricError
from devtrack.metrics._activations import flat_features, forward_passes
from devtrack.metrics._sites import matching_modules
from devtrack.metrics._standard_errors import jackknife_se
from devtrack.metrics.metric import MetricOptions, Subject
from devtrack.metrics.probing._moments import Array, GroupedMoments, Moments
from devtrack.records import Row, Status


@dataclass(frozen=True, kw_only=True)
class RegressionProbe(MetricOptions):
    """Cross-validated R² of a ridge regression on activations, next to that on random numbers.

    Activations stream by. Only their second moments are kept, so that memory does not grow with the
    data. Samples fall
    into ``num_folds`` folds at random; each is predicted by the regression on the others.

    - ``probe/<name>/r_squared`` = 1 − Σ(y − ŷ)² / Σ(y − ȳ)², with ȳ the mean of the training folds.
      Below 0 where the prediction is worse than the mean.
    - ``probe/<name>/control_r_squared``: the same for random targets (Hewitt & Liang 2019,
      arXiv:1909.03368).
    - ``probe/<name>/selectivity``: the first minus the second.

    Errors leave out one fold's residuals at a time, with the fitted maps as they are. These share
    data, so the errors are a little small.

    Args:
        site: Module path whose output is probed.
        labels: Maps a batch to numbers, one per sample, or one per position.
        name: Of the probe.
        data: What to probe on (see ``fixed_batches``); else the run's batches.
        control_group: Maps a batch to integers of the target's shape: rows of one group share their
            random number; every row is its own group by default.
        regularization: Strength of the l2 penalty on standardised features, per row. Choose it once
            and keep it for the run.
        num_folds: 2 at least.
        seed: Chooses folds and random targets; the same at every snapshot.

    Raises:
        ConfigError: If a number is outside its range.
    """

    site: str
    labels: Callable[[Any], torch.Tensor]
    name: str
    data: Any = None
    control_group: Callable[[Any], torch.Tensor] | None = None
    regularization: float = 1e-3
    num_folds: int = 10
    seed: int = 0

    def compute(self, subject: Subject) -> Iterator[Row]:
        """Yield R², the control's R² and the selectivity."""
        matching_modules(subject.model, (self.site,))
        folds = self._moments(subject)
        if min(fold.num_rows for fold in folds) == 0:
            raise MetricError(
                f"probe {self.name!r} with {sum(f.num_rows for f in folds):.0f} rows in "
                f"{self.num_folds} folds: each must hold a sample. Pass more data=, or num_folds=2."
            )
        residual, total = cross_validated(folds, self.regularization)  # (fold, target) each
        prefix = f"probe/{self.name}"
        if not (total.sum(0) > 0).all():
            error = {"error": "the target is the same for all samples"}
            yield Row(f"{prefix}/r_squared", math.nan, math.nan, self.site, Status.FAILED, error)
            return
        scores: dict[str, Callable[[Array], float]] = {
            "r_squared": lambda r2: float(r2[0]),
            "control_r_squared": lambda r2: float(r2[1]),
            "selectivity": lambda r2: float(r2[0] - r2[1]),
        }
        attrs = {"num_rows": int(sum(fold.num_rows for fold in folds))}
        every = torch.arange(len(folds))
        for part, score in scores.items():

            def of(kept: torch.Tensor, score: Callable[[Array], float] = score) -> float:
                return score(1 - residual[kept].sum(0) / total[kept].sum(0))

            se = jackknife_se(of, every)
            yield Row(f"{prefix}/{part}", of(every), se, self.site, attrs=attrs)

    def _moments(self, subject: Subject) -> list[Moments]:
        batches = subject.batches_of(self.data)
        order = np.random.default_rng(self.seed).permutation(sum(map(num_rows, batches)))
        fold_of = order % self.num_folds  # (sample,)
        moments = GroupedMoments(self.num_folds)
        sample = row = 0
        for batch, outputs in forward_passes(subject.model, batches, [self.site], subject.loss):
            label = self.labels(batch)
            x = flat_features(outputs[self.site], label, self.site)
            y = label.detach().reshape(-1).cpu().double().numpy()
            count = num_rows(batch)
            fold = np.repeat(fold_of[sample : sample + count], len(y) // count)
            group = np.arange(row, row + len(y))
            if self.control_group is not None:
                group = self.control_group(batch).reshape(-1).cpu().numpy()
            moments.add(x, np.column_stack([y, random_numbers(group, self.seed)]), fold)
            sample, row = sample + count, row + len(y)
        return moments.groups


def random_numbers(names: npt.NDArray[np.integer], seed: int) -> Array:
    """Return a number in [0, 1) for each integer, the same wherever the integer is the same.

    Source:
        Steele et al. 2014, SplitMix64's finaliser, which needs no table of the names.
    """
    with np.errstate(over="ignore"):
        z = names.astype(np.uint64) + np.uint64(seed + 1) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (z ^ (z >> np.uint64(31))).astype(np.float64) / 2.0**64


def cross_validated(folds: Sequence[Moments], regularization: float) -> tuple[Array, Array]:
    """Return Σ(y − ŷ)² and Σ(y − ȳ)² of each fold under the ridge of the others, (fold, target)."""
    whole = folds[0]
    for fold in folds[1:]:
        whole = whole.plus(fold)
    residual, total = [], []
    for fold in folds:
        train = whole.plus(fold, -1.0)
        mean_x, mean_y = train.x / train.num_rows, train.y / train.num_rows
        weights = ridge(train, regularization)  # (unit, target)
        # the fold's second moments around the training means
        xx = fold.xx - np.outer(mean_x, fold.x) - np.outer(fold.x, mean_x)
        xx += fold.num_rows * np.outer(mean_x, mean_x)
        xy = fold.xy - np.outer(mean_x, fold.y) - np.outer(fold.x, mean_y)
        xy += fold.num_rows * np.outer(mean_x, mean_y)
        yy = fold.yy - 2 * mean_y * fold.y + fold.num_rows * mean_y**2
        explained = 2 * (weights * xy).sum(0) - (weights * (xx @ weights)).sum(0)
        residual.append(yy - explained)
        total.append(yy)
    return np.stack(residual), np.stack(total)


def ridge(train: Moments, regularization: float) -> Array:
    """Return the ridge weights (unit, target), penalised as if features had unit variance."""
    mean_x, mean_y = train.x / train.num_rows, train.y / train.num_rows
    covariance = train.xx / train.num_rows - np.outer(mean_x, mean_x)
    cross = train.xy / train.num_rows - np.outer(mean_x, mean_y)
    scale = np.sqrt(np.diag(covariance).clip(min=0))
    scale[scale <= 1e-7 * scale.max(initial=0.0)] = np.inf  # a unit that never varies has no weight
    correlation = covariance / np.outer(scale, scale)
    correlation[np.diag_indices(len(scale))] += regularization
    return np.linalg.solve(correlation, cross / scale[:, None]) / scale[:, None]
