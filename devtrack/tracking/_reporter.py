"""Where the records of a run go beside the store: to loggers, to the monitor, to the user."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from devtrack.model_state.isolation import isolated
from devtrack.monitoring.actions import Controls
from devtrack.monitoring.monitor import Watch
from devtrack.records import CONFIG_EVENT_KINDS, Event, Record, TrainingProgress
from devtrack.schedules import Cursor
from devtrack.tracking._fault_isolation import Guard
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
        guard: Contains what fails.
        watch: The monitor's; None without one.
        cursor: The schedule, which actions may make denser.
        run_dir: The run's folder.
        clock: Returns where training stands.
        use_loggers: Forward numbers to the training's loggers.
        seed: Of what actions draw.
        doctor: What to do about a failing store, for warnings.
    """

    def __init__(
        self,
        observer: Observer,
        loop: TrainingLoop,
        guard: Guard,
        *,
        watch: Watch | None,
        cursor: Cursor,
        run_dir: Path,
        clock: Callable[[], TrainingProgress],
        use_loggers: bool,
        seed: int,
        doctor: str,
    ) -> None:
        self._observer = observer
        self._loop = loop
        self._guard = guard
        self._watch = watch
        self._cursor = cursor
        self._run_dir = run_dir
        self._clock = clock
        self._use_loggers = use_loggers
        self._seed = seed
        self._doctor = doctor
        self._untold: list[tuple[int, Event]] = []

    def note(
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
        with self._guard.doing("record an event", instead=self._doctor):
            self._observer.record(at or self._clock(), events)
        step = self._loop.step if at is None else at.step
        self._untold += [(step, event) for event in events if event.kind in CONFIG_EVENT_KINDS]
        if not snapshots_wait:
            self._tell_watch(step, ())

    def warn(self, kind: str, message: str, attrs: dict[str, Any], *, instead: str) -> None:
        """Record an event that the user must hear of, and say it once.

        Args:
            kind, message, attrs: Of the event.
            instead: What to do about it.
        """
        self.note([Event(kind, message, attrs)], snapshots_wait=True)
        self._guard.say(kind, f"devtrack: {message}", instead=instead)

    def report(self, held: HeldSnapshot, records: Sequence[Record]) -> None:
        """Pass on what a snapshot yielded."""
        step = held.clock.step
        self._guard.say_failed(records, step=step)
        self.warn_of_snapshots()
        for logger in self._loop.loggers if self._use_loggers and records else ():
            name = type(logger).__name__
            with self._guard.doing(f"forward numbers to {name}", instead="the store has them"):
                self._loop.forward(records, logger, step=held.logger_step)
        if self._watch is not None and records:
            self._tell_watch(step, records)
            with self._guard.doing("look for changes", instead="they may go unnoticed"):
                self._look(self._watch, held.clock, records)

    def warn_of_snapshots(self) -> None:
        """Say once why snapshots cannot be written."""
        if self._observer.snapshot_error is not None:
            message = f"devtrack could not write a snapshot ({self._observer.snapshot_error})"
            self._guard.say("snapshot", message, instead="snapshots=False writes none")

    def _look(self, watch: Watch, clock: TrainingProgress, records: Sequence[Record]) -> None:
        controls = Controls(
            observe_at=self._cursor.add,
            own_steps=self._cursor.own_steps,
            save_checkpoint=self._loop.save_checkpoint,
            stop=self._loop.stop,
            folder=self._run_dir,
        )
        with isolated(seed=self._seed):
            events = watch.look(clock.step, records, controls)
        self._observer.record(clock, events)
        for event in events:
            if event.kind.endswith("_failed") or event.kind == "invariant_unchecked":
                self._guard.say(event.attrs.get("rule", event.message), event.message)

    def _tell_watch(self, step: int, records: Iterable[Record]) -> None:
        own = [(step, r) for r in records if isinstance(r, Event) and r.kind in CONFIG_EVENT_KINDS]
        due = [(at, event) for at, event in self._untold if at <= step]
        self._untold = [(at, event) for at, event in self._untold if at > step]
        for at, event in [*due, *own]:
            with self._guard.doing("tell the monitor of an event", instead="it may raise an alarm"):
                if self._watch is not None:
                    self._watch.note(at, [event])
