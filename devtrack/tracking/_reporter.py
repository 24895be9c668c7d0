"""Where the records of a run go beside the store: to loggers, to the monitor, to the user."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from devtrack.model_state.isolation import isolated
from devtrack.monitoring.actions import Controls
from devtrack.monitoring.monitor import MonitorSession
from devtrack.records import CONFIG_EVENT_KINDS, Event, Record, TrainingProgress
from devtrack.schedules import Cursor
from devtrack.tracking._fault_isolation import FaultBarrier
from devtrack.tracking._held_snapshot import HeldSnapshot
from devtrack.tracking._observer import Observer
from devtrack.tracking.training_loop import TrainingLoop


class Reporter:
    """Notes events, and passes on what each snapshot yielded.

    Snapshots may be measured later than they were taken. The monitor hears of everything in the
    order of steps: an event waits until the snapshots before it were measured.

    Args:
        observer: Writes to the store.
        loop: The training.
        faults: Contains what fails.
        monitor_session: The monitor's; None without one.
        cursor: The schedule, which actions may make denser.
        run_dir: The run's folder.
        progress: Returns where training stands.
        use_loggers: Forward numbers to the training's loggers.
        seed: Of what actions draw.
        hint: What to do about a failing store, for warnings.
    """

    def __init__(
        self,
        observer: Observer,
        loop: TrainingLoop,
        faults: FaultBarrier,
        *,
        monitor_session: MonitorSession | None,
        cursor: Cursor,
        run_dir: Path,
        progress: Callable[[], TrainingProgress],
        use_loggers: bool,
        seed: int,
        hint: str,
    ) -> None:
        self._observer = observer
        self._loop = loop
        self._faults = faults
        self._monitor_session = monitor_session
        self._cursor = cursor
        self._run_dir = run_dir
        self._progress = progress
        self._use_loggers = use_loggers
        self._seed = seed
        self._hint = hint
        self._pending: list[tuple[int, Event]] = []

    def add_events(
        self,
        events: Sequence[Event],
        *,
        at: TrainingProgress | None = None,
        snapshots_wait: bool = False,
    ) -> None:
        """Record events.

        Args:
            events: What happened.
            at: When; now if None.
            snapshots_wait: Whether snapshots of earlier steps are not measured yet.
        """
        if not events:
            return
        with self._faults.contain("record an event", instead=self._hint):
            self._observer.record(at or self._progress(), events)
        step = self._loop.step if at is None else at.step
        self._pending += [(step, event) for event in events if event.kind in CONFIG_EVENT_KINDS]
        if not snapshots_wait:
            self._forward_events(step, ())

    def warn(self, kind: str, message: str, attrs: dict[str, Any], *, instead: str) -> None:
        """Record an event that the user must hear of, and say it once.

        Args:
            kind, message, attrs: Of the event.
            instead: What to do about it.
        """
        self.add_events([Event(kind, message, attrs)], snapshots_wait=True)
        self._faults.warn_once(kind, f"devtrack: {message}", instead=instead)

    def report(self, held: HeldSnapshot, records: Sequence[Record]) -> None:
        """Pass on what a snapshot yielded."""
        step = held.progress.step
        self._faults.warn_of_failures(records, step=step)
        self.warn_of_snapshots()
        for logger in self._loop.loggers if self._use_loggers and records else ():
            name = type(logger).__name__
            with self._faults.contain(f"forward numbers to {name}", instead="the store has them"):
                self._loop.forward(records, logger, step=held.logger_step)
        if self._monitor_session is not None and records:
            self._forward_events(step, records)
            with self._faults.contain("look for changes", instead="they may go unnoticed"):
                self._monitor(self._monitor_session, held.progress, records)

    def warn_of_snapshots(self) -> None:
        """Say once why snapshots cannot be written."""
        if self._observer.snapshot_error is not None:
            message = f"devtrack could not write a snapshot ({self._observer.snapshot_error})"
            self._faults.warn_once("snapshot", message, instead="snapshots=False writes none")

    def _monitor(
        self, monitor_session: MonitorSession, progress: TrainingProgress, records: Sequence[Record]
    ) -> None:
        controls = Controls(
            observe_at=self._cursor.add,
            scheduled_steps=self._cursor.scheduled_steps,
            save_checkpoint=self._loop.save_checkpoint,
            stop=self._loop.stop,
            folder=self._run_dir,
        )
        with isolated(seed=self._seed):
            events = monitor_session.observe(progress.step, records, controls)
        self._observer.record(progress, events)
        for event in events:
            if event.kind.endswith("_failed") or event.kind == "invariant_unchecked":
                self._faults.warn_once(event.attrs.get("rule", event.message), event.message)

    def _forward_events(self, step: int, records: Iterable[Record]) -> None:
        own = [(step, r) for r in records if isinstance(r, Event) and r.kind in CONFIG_EVENT_KINDS]
        due = [(at, event) for at, event in self._pending if at <= step]
        self._pending = [(at, event) for at, event in self._pending if at > step]
        for at, event in [*due, *own]:
            with self._faults.contain(
                "tell the monitor of an event", instead="it may raise an alarm"
            ):
                if self._monitor_session is not None:
                    self._monitor_session.add_events(at, [event])
