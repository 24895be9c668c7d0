"""What a tracker was given, checked, for the session that it opens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devtrack.metrics.metric import LossFunction, Metric
from devtrack.monitoring.monitor import Monitor
from devtrack.schedules import Schedule


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a tracker was given; see ``Tracker``."""

    store: Path
    schedule: Schedule
    metrics: Sequence[Metric]
    name: str | None
    resume: bool
    data: Any
    loss: LossFunction | None
    num_samples: int
    max_data_gb: float
    data_on_cpu: bool
    snapshots: bool
    use_loggers: bool
    max_overhead: float | None
    monitor: Monitor | None
    seed: int
