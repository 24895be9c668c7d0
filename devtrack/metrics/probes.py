"""Linear probes: what can be read off an activation by a linear map, and by chance."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from devtrack.errors import ConfigError, MetricError
from devtrack.metrics.metric import Subject
from devtrack.metrics.proportions import binomial_se
from devtrack.metrics.sites import captured
from devtrack.rows import Row


@dataclass(frozen=True, kw_only=True)
class LinearProbe:
    """Accuracy of a linear classifier on activations, next to the same on random labels.

    A probe that is rich enough to memorise says little about the representation. The control task
    gives every group of samples a label drawn at random from the real labels' distribution;
    selectivity is the accuracy minus the control's (Hewitt & Liang 2019, arXiv:1909.03368). The
    classifier is a logistic regression on standardised features, fitted on one half of the samples
    and scored on the other, or cross-validated; the parts and the control labels are the same at
    every snapshot.

    Args:
        site: Module path whose output is probed. A forward pass of the loss must reach it.
        target: Maps a batch to integer labels, one per sample, or one per position for activations
            of shape (batch, position, feature).
        name: Rows are named ``probe/<name>.accuracy``, ``.control_accuracy``, ``.selectivity``.
        data: What to probe on (see ``devtrack.batches.fixed_batches``); else the run's batches.
        control_group: Maps a batch to integers of the labels' shape: samples of one group share
            their control label, as all occurrences of a word do in Hewitt & Liang. Without it,
            every sample is a group of its own and the control cannot generalise.
        regularization: Inverse strength C of the l2 penalty.
        num_folds: None for two halves; else every row is scored once, by a classifier fitted on
            the other folds: all rows count, at ``num_folds`` times the cost. The error treats the
            scores as independent; since the fits share data, it is a little small.
        seed: Chooses the halves or folds and the control labels.

    Shapes:
        Activations (sample, …, feature) are flattened to (sample, feature) if labels come one per
        sample, to (sample · position, feature) if they come one per position.

    Source:
        Standard errors are binomial with two successes and two failures added (Agresti & Coull
        1998), so that a perfect score is not reported as exact.
    """

    site: str
    target: Callable[[Any], torch.Tensor]
    name: str
    data: Any = None
    control_group: Callable[[Any], torch.Tensor] | None = None
    regularization: float = 1.0
    num_folds: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.regularization > 0:
            raise ConfigError(
                f"regularization={self.regularization}: must be positive (the inverse strength C "
                f"of the penalty). Use regularization=1.0."
            )
        if self.num_folds is not None and self.num_folds < 2:
            raise ConfigError(
                f"num_folds={self.num_folds}: must be at least 2, or None for two halves. Use "
                f"num_folds=5."
            )

    def compute(self, subject: Subject) -> Iterator[Row]:
        """Yield accuracy, control accuracy and selectivity at the site."""
        features, labels, groups = self._collect(subject)
        rng = np.random.default_rng(self.seed)
        training = _training_parts(labels, self.num_folds, rng)
        control = _control_labels(labels, groups, rng)
        accuracy = _held_out_accuracy(features, labels, training, self.regularization)
        control_accuracy = _held_out_accuracy(features, control, training, self.regularization)
        n_test = sum(int((~part).sum()) for part in training)
        se, control_se = binomial_se(accuracy, n_test), binomial_se(control_accuracy, n_test)
        prefix, site = f"probe/{self.name}", self.site
        yield Row(f"{prefix}.accuracy", accuracy, se, site, attrs={"n_test": n_test})
        yield Row(f"{prefix}.control_accuracy", control_accuracy, control_se, site)
        difference = accuracy - control_accuracy
        yield Row(f"{prefix}.selectivity", difference, math.hypot(se, control_se), site)

    def _collect(self, subject: Subject) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return features (sample, feature), labels (sample,) and control groups (sample,)."""
        features, labels, groups = [], [], []
        with torch.no_grad(), captured(subject.model, (self.site,)) as outputs:
            for batch in subject.batches_of(self.data):
                outputs.clear()
                subject.loss(subject.model, batch)
                if self.site not in outputs:
                    raise MetricError(
                        f"site {self.site!r}: the loss never calls this module, or it returns no "
                        f"tensor. Choose a module on the way from the batch to the loss."
                    )
                label = self.target(batch)
                features.append(flat_features(outputs[self.site], label, self.site).cpu())
                labels.append(label.reshape(-1).cpu())
                if self.control_group is not None:
                    groups.append(self.control_group(batch).reshape(-1).cpu())
        y = torch.cat(labels).numpy()
        group = torch.cat(groups).numpy() if groups else np.arange(len(y))
        return torch.cat(features).double().numpy(), y, group


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
        f"target of shape {tuple(label.shape)} for activations of shape {tuple(activation.shape)} "
        f"at site {site!r}: must be one label per sample or per position. Return a tensor of shape "
        f"{tuple(activation.shape[:1])} or {tuple(activation.shape[:-1])}."
    )


def _training_parts(
    labels: np.ndarray, num_folds: int | None, rng: np.random.Generator
) -> list[np.ndarray]:
    """Return masks (row,) of what to fit on; the rest of each is what to score."""
    order = rng.permutation(len(labels))
    if num_folds is None:
        parts = [np.isin(np.arange(len(labels)), order[: len(labels) // 2])]
    else:
        fold = np.empty(len(labels), dtype=int)
        fold[order] = np.arange(len(labels)) % num_folds
        parts = [fold != held_out for held_out in range(num_folds)]
    for part in parts:
        if len(np.unique(labels[part])) < 2 or part.all():
            raise MetricError(
                f"target with labels {np.unique(labels)[:5].tolist()} on {len(labels)} samples: "
                f"what is fitted must hold at least 2 classes, and something must be left to score."
                f" Pass more data= or another target."
            )
    return parts


def _control_labels(labels: np.ndarray, groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    _, group_index = np.unique(groups, return_inverse=True)
    return rng.choice(labels, size=group_index.max() + 1)[group_index]


def _held_out_accuracy(
    features: np.ndarray, labels: np.ndarray, training: list[np.ndarray], regularization: float
) -> float:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    right = total = 0
    for part in training:
        # The optimum is unique; a tolerance below the test's resolution only costs time.
        classifier = LogisticRegression(C=regularization, tol=1e-3, max_iter=1000)
        probe = make_pipeline(StandardScaler(), classifier).fit(features[part], labels[part])
        right += int((probe.predict(features[~part]) == labels[~part]).sum())
        total += int((~part).sum())
    return right / total
