"""What a tracker was given, checked, for the session that it opens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devtrack.metrics.metric import LossFunction, Metric
from devtrack.monitoring.monitor import Monitor
from devtrack.schedules import Schedule
from devtrack.store._provenance import describe


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

    def describe(self) -> dict[str, Any]:
        """Return what belongs into the run's configuration, JSON-serialisable."""
        return {
            "schedule": describe(self.schedule),
            "metrics": {metric.name: describe(metric) for metric in self.metrics},
            "num_samples": self.num_samples,
            "max_data_gb": self.max_data_gb,
            "seed": self.seed,
            "snapshots": self.snapshots,
            "max_overhead": self.max_overhead,
            "monitor": describe(self.monitor),
        }
