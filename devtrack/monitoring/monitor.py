"""Watches a run while it trains: alarms at changes, invariants, and the actions on them.

``Monitor`` is configuration; ``start`` makes a ``MonitorSession``, which holds what it has seen of
one run.
Neither knows a trainer: what an action asks of one goes through ``Controls``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from types import BuiltinFunctionType, FunctionType
from typing import Any

from devtrack._checks import require_globs
from devtrack.changepoints.online.detector import Alarm, OnlineDetector
from devtrack.errors import ConfigError
from devtrack.monitoring._violations import Violations
from devtrack.monitoring.actions import Action, Controls, Log, StopTraining, Trigger
from devtrack.monitoring.invariants import Invariant
from devtrack.records import NOT_FINITE, Event, Record, Row, Status
from devtrack.series import ConfigEvent


@dataclass(frozen=True)
class Monitor:
    """Detects changes at every snapshot and acts on them.

    Args:
        actions: Carried out at every alarm and at the begin of every violation, in this order.
        invariants: Rules that the run must keep; a rule with ``stop=True`` ends the training, and
            ends it again if it is resumed in spite of it.
        false_alarms_per_1000: Alarms per 1000 snapshots of a run in which nothing changes. All
            metrics are tested together: more of them do not mean more alarms.
        metrics: Names or globs of the metrics to watch, such as ``("llc", "probe/*")``; all if
            None. Learning rates are never watched: they are configuration.

    Raises:
        ConfigError: An argument that cannot work.

    Example:
        >>> monitor = Monitor(invariants=[Invariant("loss < 10")], false_alarms_per_1000=0.5)
    """

    actions: Sequence[Action] = (Log(),)
    invariants: Sequence[Invariant] = ()
    false_alarms_per_1000: float = 1.0
    metrics: str | Sequence[str] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.actions, str) or not isinstance(self.actions, Sequence):
            raise ConfigError(
                f"actions={self.actions!r}: must be a list of actions. Write actions=[Densify()]."
            )
        if isinstance(self.invariants, str) or not isinstance(self.invariants, Sequence):
            raise ConfigError(
                f"invariants={self.invariants!r}: must be a list of Invariant objects. "
                'Write invariants=[Invariant("loss < 10")].'
            )
        if self.metrics is not None:
            require_globs("metrics", self.metrics, example="probe/*")
        for action in self.actions:
            is_function = isinstance(action, FunctionType | BuiltinFunctionType)
            if not isinstance(action, Action) or isinstance(action, type) or is_function:
                raise ConfigError(
                    f"actions holds {action!r}: must be instances of Log, Call, Densify, "
                    "SaveCheckpoint, StopTraining, or be called with (trigger, controls). "
                    "Wrap a function: Call(function)."
                )
        for rule in self.invariants:
            if not isinstance(rule, Invariant):
                raise ConfigError(
                    f"invariants holds {rule!r}: must be Invariant objects. "
                    'Write Invariant("probe/deception/accuracy < 0.6").'
                )
        OnlineDetector(false_alarms_per_1000=self.false_alarms_per_1000)

    def start(self) -> MonitorSession:
        """Begin to watch a run."""
        return MonitorSession(self)


class MonitorSession:
    """What a monitor has seen of one run. Use ``Monitor.start``."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self._detector = OnlineDetector(false_alarms_per_1000=monitor.false_alarms_per_1000)
        self._violations = Violations()
        self._broken = False

    def add_events(self, step: int, events: Iterable[Event]) -> None:
        """Take in that the training configuration changed: its effects are no change."""
        for event in events:
            self._detector.add_event(
                ConfigEvent(step, event.kind, event.attrs.get("momentum", 0.0))
            )

    def restore(
        self,
        rows: Iterable[tuple[int, Row]],
        *,
        alarms: Iterable[int] = (),
        events: Iterable[ConfigEvent] = (),
        reported: Iterable[tuple[int, Event]] = (),
    ) -> None:
        """Take in what happened before a resume, without acting on it.

        Args:
            rows: Steps and rows, by step.
            alarms: Steps at which an alarm was raised.
            events: Changes of the training configuration.
            reported: Steps and events of invariants: what still lasts is not said again, nor acted
                on.
        """
        for event in events:
            self._detector.add_event(event)
        by_step: dict[int, list[Row]] = {}
        for step, row in rows:
            by_step.setdefault(step, []).append(row)
        for step in sorted(by_step):
            self._detector.observe(step, self._watched(by_step[step]), rate=_rate(by_step[step]))
        for step in sorted(alarms):
            self._detector.reset(step)
        reported_at: dict[int, list[Event]] = {}
        for step, event in reported:
            reported_at.setdefault(step, []).append(event)
        self._violations.restore(self._monitor.invariants, rows=by_step, events=reported_at)

    def observe(self, step: int, records: Iterable[Record], controls: Controls) -> list[Event]:
        """Look at a new snapshot, act, and return what happened.

        Args:
            step: Optimizer steps completed.
            records: What was measured.
            controls: What actions may ask of the training.

        Returns:
            Events of the kinds ``alarm``, ``violation``, ``invariant_unchecked``,
            ``action_failed`` for each action that raised, and ``detection_failed``.
        """
        rows = [r for r in records if isinstance(r, Row)]
        events: list[Event] = []
        for rule in self._monitor.invariants:
            for event in self._violations.check(rule, rows):
                events.append(event)
                if event.kind == "violation":
                    extra = (StopTraining(),) if rule.stop else ()
                    actions = (*self._monitor.actions, *extra)
                    events += _act(actions, Trigger(event, step), controls)
        try:
            alarm = self._detector.update(step, self._watched(rows), rate=_rate(rows))
        except Exception as error:  # noqa: BLE001 - invariants are checked all the same
            return [*events, *self._fail(error)]
        if alarm is not None:
            event = _alarm_event(alarm, self._monitor.false_alarms_per_1000)
            events.append(event)
            events += _act(self._monitor.actions, Trigger(event, step), controls)
        return events

    def _fail(self, error: Exception) -> list[Event]:
        """Say once that changes are no longer detected."""
        if self._broken:
            return []
        self._broken = True
        text = f"{type(error).__name__}: {error}"
        return [Event("detection_failed", f"detection of changes failed: {text}", {"error": text})]

    def _watched(self, rows: Iterable[Row]) -> dict[str, tuple[float, float]]:
        """Return the numbers that enter the detection, by ``metric@site``: only trusted ones."""
        metrics = self._monitor.metrics
        patterns = (metrics,) if isinstance(metrics, str) else metrics
        return {
            f"{row.metric}@{row.site}": (row.value, row.se)
            for row in rows
            if row.status is Status.OK
            and row.metric != "lr"
            and not row.metric.startswith("lr/")
            and (patterns is None or any(fnmatchcase(row.metric, p) for p in patterns))
        }


def start_monitoring(
    monitor: Monitor | None, store: Any, run_id: str, through_step: int | None
) -> MonitorSession | None:
    """Return the watch that a monitor begins, or none without one.

    Args:
        monitor: What the user asked for.
        store: Where the run is.
        run_id: The run.
        through_step: Where it was resumed, with its past (see ``restore_from_store``); None: it is
            new.
    """
    if monitor is None:
        return None
    watch = monitor.start()
    if through_step is not None:
        restore_from_store(watch, store, run_id, through_step=through_step)
    return watch


def restore_from_store(
    watch: MonitorSession, store: Any, run_id: str, *, through_step: int
) -> None:
    """Let a monitoring session take in what the store holds of a run that is resumed at a step."""
    from devtrack.store.readers import config_events, read_events, read_rows

    events = read_events(store, run_id, through_step=through_step)
    watch.restore(
        read_rows(store, run_id, through_step=through_step, failed_attrs=[NOT_FINITE]),
        alarms=sorted({step for step, event in events if event.kind == "alarm"}),
        events=config_events(events),
        reported=[(step, event) for step, event in events if event.attrs.get("rule") is not None],
    )


def _rate(rows: Iterable[Row]) -> float | None:
    """Return the learning rate of the first parameter group, if it was recorded."""
    return next((row.value for row in rows if row.metric == "lr"), None)


def _act(actions: Iterable[Action], trigger: Trigger, controls: Controls) -> list[Event]:
    """Carry out the actions; one that fails becomes an event and does not stop the others."""
    failures = []
    for action in actions:
        try:
            action(trigger, controls)
        except Exception as error:  # noqa: BLE001 - a user's action may fail in any way
            name = type(action).__name__
            text = f"{type(error).__name__}: {error}"
            failures.append(
                Event(
                    "action_failed",
                    f"action {name} at step {trigger.step} failed: {text}",
                    {"action": name, "error": text, "on": trigger.event.kind},
                )
            )
    return failures


def _alarm_event(alarm: Alarm, false_alarms_per_1000: float) -> Event:
    moves = ", ".join(f"{m.name.removesuffix('@model')} ({m.direction})" for m in alarm.moves)
    noun = "false alarm" if false_alarms_per_1000 == 1 else "false alarms"
    return Event(
        "alarm",
        f"{moves} changed course after step {alarm.onset}; seen at step {alarm.step}, "
        f"by a rule with {false_alarms_per_1000:g} {noun} in 1000 snapshots",
        {
            "onset": alarm.onset,
            "log_evidence": alarm.log_evidence,
            "threshold": alarm.threshold,
            "false_alarms_per_1000": false_alarms_per_1000,
            "moves": [move._asdict() for move in alarm.moves],
        },
    )
