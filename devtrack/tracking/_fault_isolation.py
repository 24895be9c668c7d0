"""Lets what is done beside a training fail, and says each kind of failure once."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from devtrack.records import Event, Record, Row, Status


class TrackerWarning(UserWarning):
    """devtrack could not do something; training goes on."""


class FaultBarrier:
    """What failed beside one training. The first failure of each kind is a warning, none is raised.

    Example:
        >>> faults = FaultBarrier()
        >>> with faults.contain("count"):
        ...     rows = len([1, 2])
    """

    def __init__(self) -> None:
        self._warned: set[str] = set()

    @contextmanager
    def contain(self, deed: str, *, instead: str = "") -> Iterator[None]:
        """Leave the block at whatever it raises, with a warning the first time.

        Args:
            deed: What the block does, as the words after "devtrack could not".
            instead: What holds or helps now; closes the warning.
        """
        try:
            yield
        except Exception as error:  # noqa: BLE001 - training never stops because of us
            reason = f"{type(error).__name__}: {error}"
            self.warn_once(deed, f"devtrack could not {deed} ({reason})", instead=instead)

    def warn_once(self, kind: str, message: str, *, instead: str = "") -> None:
        """Warn that something failed, unless a failure of this kind was said before."""
        if kind not in self._warned:
            self._warned.add(kind)
            close = f"; {instead}." if instead else "."
            text = f"{message.removesuffix('.')}. Training continues{close}"
            warnings.warn(text, TrackerWarning, stacklevel=2)

    def warn_of_changes(self, events: Iterable[Event]) -> None:
        """Say what is measured otherwise than before a resume, while the run can be kept apart."""
        for event in events:
            other = "another name=, or resume=False, begins a run of its own"
            self.warn_once(
                event.message, f"devtrack continues a run, but {event.message}", instead=other
            )

    def warn_of_failures(self, records: Iterable[Record], *, step: int) -> None:
        """Say at the first failure of a metric what its rows will say, while it can be mended."""
        for row in records:
            if isinstance(row, Row) and row.status is Status.FAILED:
                metric = f"metric {row.metric!r}"
                message = f"{metric} failed at step {step}: {row.attrs.get('error')}"
                self.warn_once(metric, message, instead="its rows get the status 'failed'")
