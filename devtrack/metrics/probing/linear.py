"""Linear probes: what can be read off an activation by a linear map, and by chance."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from devtrack.errors import MetricError
from devtrack.metrics._proportions import clustered_se
from devtrack.metrics._sites import matching_modules
from devtrack.metrics.metric import MetricOptions, Subject
from devtrack.metrics.probing._description_length import OnlineCode
from devtrack.metrics.probing._logistic import AveragedLogistic
from devtrack.metrics.probing._streaming import Chunks
from devtrack.records import Row, Status

Integers = npt.NDArray[np.integer]
Mask = npt.NDArray[np.bool_]


PADDING = -100
"""The label that torch's losses leave out (``ignore_index``), and probes too."""

MOST_FEW_CLASSES = 20
"""Up to so many classes, few rows are a small data set; beyond it, they have ids for labels."""


@dataclass(frozen=True, kw_only=True)
class LinearProbe(MetricOptions):
    """Accuracy of a linear classifier on activations, next to the same on random labels.

    A probe that is rich enough to memorise says little about the representation. The control task
    gives every group of rows a random label with the real labels' distribution. Selectivity is the
    accuracy minus the control's (Hewitt & Liang 2019, arXiv:1909.03368). The classifier is a
    logistic regression on standardised features. It is fitted on one half of the samples and scored
    on the other, or cross-validated. The parts and the control labels are the same at every
    snapshot.

    Activations stream by in chunks of bounded memory. Data that fit in one chunk are fitted at
    once. Otherwise the classifier is the mean of those fitted on each chunk (see
    ``AveragedLogistic``), and a second pass scores all rows. Logistic regression and not a map from
    second moments, as in
    ``RegressionProbe``: where units are not Gaussian, the latter reads less.

    Args:
        site: Module path whose output is probed. A forward pass of the loss must reach it.
        labels: Maps a batch to integer labels, one per sample, or one per position for activations
            of shape (batch, position, feature).
        name: Rows are named ``probe/<name>/accuracy``, ``/control_accuracy``, ``/selectivity``.
        data: What to probe on (see ``fixed_batches``); else the run's batches.
        control_group: Maps a batch to integers of the labels' shape. Rows of one group share their
            control label, as all occurrences of a word do in Hewitt & Liang. Without it, every row
            is a group of its own and the control cannot generalise.
        regularization: Strength of the l2 penalty on standardised features, per row (1 / (n · C) in
            scikit-learn's terms). Choose it once and keep it for the run.
        num_folds: None for two halves. Otherwise every row is scored once, by a classifier fitted
            on the other folds. All rows count, at ``num_folds`` times the cost. Errors treat the
            scores of samples as independent; since the fits share data, they are a little small.
        description_length: Adds ``probe/<name>/mdl_bits``, the online code's length in bits per row
            (Voita & Titov 2020, arXiv:2003.12298). Adds ``probe/<name>/compression``, log₂ of the
            number of classes over it. That is above 1 where the labels can be decoded, and larger
            the fewer rows it takes to learn. Costs about one fit more.
        max_memory_gb: Memory, 10⁹ bytes, that activations may take; those of one batch and the
            model's own come on top. A chunk should hold several times more rows than units.
        seed: Chooses the halves or folds, the control labels and the order of the code.

    Shapes:
        labels: as many labels as samples, or as positions; −100 marks one that does not count.
        Activations (sample, …, feature) are flattened to (sample, feature) if labels come one per
        sample, to (sample · position, feature) if they come one per position. Rows of one sample
        are never parted, and errors are taken over samples.

    Raises:
        ConfigError: If a number is outside its range.
    """

    site: str
    labels: Callable[[Any], torch.Tensor]
    name: str
    data: Any = None
    control_group: Callable[[Any], torch.Tensor] | None = None
    regularization: float = 1e-3
    num_folds: int | None = None
    description_length: bool = False
    max_memory_gb: float = 0.5
    seed: int = 0

    def compute(self, subject: Subject) -> Iterator[Row]:
        """Yield accuracy, control accuracy and selectivity at the site; the code's if wanted."""
        matching_modules(subject.model, (self.site,))
        batches = subject.batches_of(self.data)
        rng = np.random.default_rng(self.seed)
        rows, groups = self._labels(batches)
        training = _training_parts(rows, self.num_folds, rng)
        tasks = [rows.label, _control_labels(rows, groups, rng)]
        chunks = Chunks(
            subject,
            batches,
            self.site,
            self.labels,
            num_rows=len(rows.label),
            max_chunk_bytes=int(1e9 * self.max_memory_gb / 2),  # a chunk, and a copy to fit on
        )
        probes, reasons = _fit(chunks, tasks, training, rows, self.regularization)
        right, total = _score(chunks, tasks, training, probes, rows)
        attrs: dict[str, Any] = {"n_test": int(total.sum()), "num_chunks": chunks.num_chunks}
        if reasons:
            attrs["reasons"] = reasons
        prefix, status = f"probe/{self.name}", Status.SUSPECT if reasons else Status.OK

        def row(part: str, value: float, se: float) -> Row:
            return Row(f"{prefix}/{part}", value, se, self.site, status, attrs)

        accuracy, control = right.sum(1) / total.sum()
        scored = total > 0
        se, control_se = (clustered_se(task[scored], total[scored]) for task in right)
        yield row("accuracy", accuracy, se)
        yield row("control_accuracy", control, control_se)
        yield row("selectivity", accuracy - control, math.hypot(se, control_se))
        if self.description_length:
            yield from self._code_rows(row, chunks, rows)

    def _code_rows(
        self, row: Callable[[str, float, float], Row], chunks: Chunks, rows: _Rows
    ) -> Iterator[Row]:
        code: OnlineCode | None = None
        rank = np.random.default_rng(self.seed).permutation(rows.sample.max() + 1)
        for part, x in chunks:
            if code is None:
                code = OnlineCode(rows.num_classes, 1 / (self.regularization * len(x)))
            order = np.argsort(rank[rows.sample[part]], kind="stable")  # samples shuffled
            order = order[rows.counts[part][order]]
            code.add(x[order], rows.label[part][order], rows.sample[part][order])
        assert code is not None
        bits, se = code.bits_per_row()
        uniform = math.log2(rows.num_classes)
        yield row("mdl_bits", bits, se)
        yield row("compression", uniform / bits, uniform / bits**2 * se)

    def _labels(self, batches: list[Any]) -> tuple[_Rows, Integers]:
        """Return the labels and samples of all rows, and their control groups, (row,)."""
        labels, samples, groups = [], [], []
        group_of = self.control_group
        start = 0
        for batch in batches:
            label = self.labels(batch)
            self._require_classes(label)
            count = len(label)
            labels.append(label.detach().reshape(-1).cpu().numpy())
            samples.append(np.arange(start, start + count).repeat(label.numel() // max(count, 1)))
            start += count
            if group_of is not None:
                groups.append(group_of(batch).detach().reshape(-1).cpu().numpy())
        given = np.concatenate(labels)
        counts = given != PADDING
        names, found = np.unique(given[counts], return_inverse=True)
        label = np.zeros(len(given), dtype=found.dtype)
        label[counts] = found
        if 2 * len(names) > counts.sum() and len(names) > MOST_FEW_CLASSES:
            raise MetricError(
                f"labels with {len(names)} different values on {counts.sum()} rows: a class must "
                f"be met more than once to be learned, so these look like ids or measurements. "
                f"Pass classes, more data=, or use RegressionProbe for numbers."
            )
        group = np.concatenate(groups) if groups else np.arange(len(label))
        return _Rows(label, np.concatenate(samples), len(names), counts), group

    def _require_classes(self, label: Any) -> None:
        """Raise MetricError if the labels are measurements."""
        numbers = label.detach().double() if label.is_floating_point() else None
        if numbers is not None and bool((numbers != numbers.round()).any()):
            raise MetricError(
                f"labels of dtype {label.dtype} with values such as "
                f"{float(numbers[numbers != numbers.round()][0]):g}: LinearProbe tells classes "
                f"apart. Return integer labels, or use RegressionProbe for numbers."
            )


class _Rows(NamedTuple):
    """Of every row, (row,): its class, 0 … K − 1, and the sample that it belongs to; and K.

    ``counts`` says which rows have a label; those that are padding take no part.
    """

    label: Integers
    sample: Integers
    num_classes: int
    counts: Mask


def _training_parts(rows: _Rows, num_folds: int | None, rng: np.random.Generator) -> list[Mask]:
    """Return masks (row,) of what to fit on; the rest of each is what to score."""
    num_samples = rows.sample[-1] + 1
    order = rng.permutation(num_samples)
    if num_folds is None:
        chosen = np.isin(np.arange(num_samples), order[: num_samples // 2])
        return [chosen[rows.sample]]
    fold = np.empty(num_samples, dtype=int)
    fold[order] = np.arange(num_samples) % num_folds
    return [(fold != held_out)[rows.sample] for held_out in range(num_folds)]


def _control_labels(rows: _Rows, groups: Integers, rng: np.random.Generator) -> Integers:
    _, group_index = np.unique(groups, return_inverse=True)
    return rng.choice(rows.label[rows.counts], size=group_index.max() + 1)[group_index]


def _fit(
    chunks: Chunks,
    tasks: list[Integers],
    training: list[Mask],
    labels_of: _Rows,
    regularization: float,
) -> tuple[list[AveragedLogistic], list[str]]:
    """Return a probe for each training part, and reasons not to trust them."""
    num_classes, counts = labels_of.num_classes, labels_of.counts
    probes = [AveragedLogistic(len(tasks), num_classes) for _ in training]
    lacking = 0
    for rows, x in chunks:
        for probe, part in zip(probes, training, strict=True):
            if rows.start == 0:  # not before, so that labels of a wrong shape are named as such
                _require_classes(tasks[0][part & counts], part | ~counts)
            kept = part[rows] & counts[rows]
            if kept.any():
                labels = [task[rows][kept] for task in tasks]
                probe.add(x[kept], labels, 1 / (regularization * kept.sum()))
                lacking = max(lacking, num_classes - len(np.unique(labels[0])))
    if lacking and chunks.num_chunks > 1:
        return probes, [
            f"{lacking} of {num_classes} classes are missing from one of {chunks.num_chunks} "
            f"chunks: shuffle the data, or raise max_memory_gb"
        ]
    return probes, []


def _score(
    chunks: Chunks,
    tasks: list[Integers],
    training: list[Mask],
    probes: list[AveragedLogistic],
    labels_of: _Rows,
) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.floating]]:
    """Return how many held-out rows of each sample are right, (task, sample), and how many are."""
    sample, counts = labels_of.sample, labels_of.counts
    right = np.zeros((len(tasks), sample[-1] + 1))
    total = np.zeros(sample[-1] + 1)
    for rows, x in chunks:
        for probe, part in zip(probes, training, strict=True):
            scored = ~part[rows] & counts[rows]
            own = sample[rows][scored]
            features = x[scored]
            total += np.bincount(own, minlength=len(total))
            for index, task in enumerate(tasks):
                hit = probe.logits(features, index).argmax(1) == task[rows][scored]
                right[index] += np.bincount(own, weights=hit, minlength=len(total))
    return right, total


def _require_classes(labels: Integers, part: Mask) -> None:
    """Raise MetricError unless there is something to tell apart and something to score."""
    num_classes = len(np.unique(labels))
    if num_classes < 2 or part.all():
        raise MetricError(
            f"labels with {num_classes} classes on {len(labels)} of {len(part)} rows to fit on: "
            f"must hold at least 2 classes, and something must be left to score. Pass more data= "
            f"or other labels."
        )
