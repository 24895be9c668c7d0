"""What a run carries over a resume, in the checkpoint: what it settled and how it was measured."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from devtrack.records import Event
from devtrack.tracking._training_events import reconfigured


@dataclass(kw_only=True)
class CheckpointState:
    """What the rest of a run must know of its first part, as JSON can hold it.

    Args:
        metric_state: What metrics settled once, by metric (see ``Subject``).
        measured_on: Fingerprint of the data; None before they are chosen.
        trainable: Names of the parameters that required grad at the last observation.
        settings: What every metric said of itself (``provenance.describe``), by metric.
        observations: How many there were.
    """

    metric_state: dict[str, Any] = field(default_factory=dict)
    measured_on: str | None = None
    trainable: list[str] | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    observations: int = 0

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> CheckpointState:
        """Return what ``state`` was made of; an older devtrack's may hold less."""
        names = [name for name in cls.__dataclass_fields__ if state.get(name) is not None]
        return cls(**copy.deepcopy({name: state[name] for name in names}))

    def state(self) -> dict[str, Any]:
        """Return a copy to put into a checkpoint."""
        return asdict(self)

    def configure(self, settings: Mapping[str, Any]) -> list[Event]:
        """Take in the metrics' settings from here on; forget what those settled that changed.

        Returns:
            An event ``reconfigured`` for each of them: its numbers before and after are of
            different quantities.
        """
        events = [
            event
            for metric, now in settings.items()
            for event in reconfigured(metric, self.settings.get(metric), now)
        ]
        for event in events:
            self.metric_state.pop(event.attrs["metric"], None)
        self.settings = dict(settings)
        return events
