"""The words that all parts share: what a metric hands over and what the store keeps.

A metric yields records (``Row``, ``ChainTrace``). The tracker adds the position in training
(``TrainingProgress``) and the run (``RunInfo``). The store writes one line per record.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt


class Status(StrEnum):
    """How far a number may be trusted."""

    OK = "ok"
    SUSPECT = "suspect"  # a finite number with a reason not to trust it; the reasons stand in attrs
    FAILED = "failed"  # no number: value is NaN and attrs["error"] says why


NOT_FINITE = "not_finite"
"""In the attrs of a failed row whose metric was computed: "nan", "inf" or "-inf"."""


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """A position in training.

    Args:
        step: Optimizer steps completed.
        epoch: Epochs completed.
        samples_seen: Training samples that contributed to those steps, over all ranks.
        ts_utc: Wall time, naive UTC.
    """

    step: int
    epoch: int = 0
    samples_seen: int = 0
    ts_utc: datetime = field(default_factory=lambda: datetime.now(UTC).replace(tzinfo=None))


@dataclass(frozen=True, slots=True)
class Row:
    """One measured number.

    Args:
        metric: Name of the quantity, e.g. ``"llc"`` or ``"probe/parity/accuracy"``.
        value: The number; NaN when ``status`` is failed.
        se: Standard error in the units of ``value``; NaN when the metric is exact or it is unknown.
        site: Module path where it was taken, e.g. ``"blocks.3.attn.head.2"``.
        status: Trust in the number.
        attrs: Further facts, JSON-serialisable: diagnostics, reasons, the error text.
    """

    metric: str
    value: float
    se: float = float("nan")
    site: str = "model"
    status: Status = Status.OK
    attrs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ChainTrace:
    """The losses along the sampling chains behind one estimate.

    Shapes:
        loss, baseline: (chain, num_burnin_steps + draw). ``loss`` is L at the chain's position,
        ``baseline`` is L(w*) on the same data. Their difference is the paired signal.
    """

    metric: str
    loss: npt.NDArray[np.floating]
    baseline: npt.NDArray[np.floating]
    num_burnin_steps: int = 0
    site: str = "model"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened at a step: a learning-rate change, a resume, an alert.

    Args:
        kind: Short name in snake_case, e.g. ``"lr_change"``.
        message: One line for a reader.
        attrs: Further facts, JSON-serialisable.
    """

    kind: str
    message: str = ""
    attrs: Mapping[str, Any] = field(default_factory=dict)


CONFIG_EVENT_KINDS = (
    "optimizer_start",
    "lr_change",
    "warmup_end",
    "evalset_change",
    "parameters_changed",
    "reconfigured",
    "resume",
)
"""Events that change the curves without a change of what the network has learnt."""


@dataclass(frozen=True, slots=True)
class SnapshotRecord:
    """Where the weights of a step were written.

    Args:
        content_hash: SHA-256 of names, dtypes, shapes and bytes, in hex: equal weights, equal hash.
        path: File, relative to the run's folder.
        snapshot_bytes: Size of the file in bytes.
    """

    content_hash: str
    path: str
    snapshot_bytes: int


Record = Row | ChainTrace | Event | SnapshotRecord


@dataclass(frozen=True, slots=True)
class RunInfo:
    """One training lineage; written once to ``run.json`` and never changed.

    Args:
        run_id: Unique in the store and a safe folder name: ``"grokking-20261121-093012-4f1a90c2"``.
        name: What the user calls it; several runs may share a name.
        created_utc: Naive UTC.
        config: The tracker's frozen configuration, JSON-serialisable.
        versions: Versions of Python, devtrack, torch, lightning, devinterp, duckdb, numpy.
        parent_run_id, parent_step: The run and step that this one was forked from, if any.
    """

    run_id: str
    name: str
    created_utc: datetime
    config: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    parent_run_id: str | None = None
    parent_step: int | None = None


def without_nan(value: Any) -> Any:
    """Return ``value``, or its items, with None for numbers that are not finite.

    For ``attrs``: where a number could not be had, a query finds NULL.
    """
    if isinstance(value, list):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
