"""The thread that writes: training enqueues, this commits, and tries again when the disk fails.

What happens when the store cannot be written (disk full, network gone):

1. Rows wait in memory and the thread tries again after 0.1 s, 0.2 s, … 30 s. Training goes on,
   except that a checkpoint waits for its rows (``Writer.flush``). In one outage the first waits up
   to 60 s, later ones for one more try. One warning is logged, and one line when it works again.
2. Above ``max_pending_rows`` waiting rows, they are written to a spill folder in the local
   temporary directory, in the store's own layout. As soon as the store can be written again they
   move there by themselves. If the process ends before, ``Store.adopt(folder)`` brings them in.
3. If the temporary directory fails too, rows stay in memory without a bound. To lose them silently,
   or to stop a training of days, would be worse.

An error that is no outage (``is_defect``) does not end by waiting. Nobody waits for a second try
then: neither a checkpoint nor the end. Rows behind the one in question keep their place, because a
metric row implies what was appended before it. At the end they go to the spill folder.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from devtrack.records import Record, TrainingProgress
from devtrack.store._atomic_files import remove_quietly
from devtrack.store._commit_queue import Backlog
from devtrack.store._compaction import compact_writer
from devtrack.store._encoding import Author, num_records
from devtrack.store._layout import segment_dir
from devtrack.store._overflow import spill_dir, spilled_segments
from devtrack.store._segments import is_defect, writer_connection

_log = logging.getLogger("devtrack.store")
_FIRST_RETRY_S = 0.1
_LAST_RETRY_S = 30.0


@dataclass(frozen=True)
class FlushPolicy:
    """When rows are written, and what happens while they cannot be.

    Args:
        interval_s: Rows wait at most this long before they are written.
        wake_rows: This many waiting rows are written at once.
        max_pending_rows: More than this, while the store fails, go to the spill folder.
        compact_after: Segments of one table after which the writer compacts them by itself.
        grace_s: Time between a wider segment's appearance and the removal of the files that it
            covers. It is longer than a reader needs to list a folder and open its files.
        spill_root: Parent of the spill folder; the system's temporary directory if None.
    """

    interval_s: float = 1.0
    wake_rows: int = 20_000
    max_pending_rows: int = 500_000
    compact_after: int = 256
    grace_s: float = 0.5
    spill_root: str | None = None


class Flusher:
    """Commits the records of one writer in the order in which they were put.

    Args:
        run_dir: The run's folder in the store.
        author: Run, attempt and rank.
        first_seq: Sequence number of the first record.
        policy: See ``FlushPolicy``.
    """

    def __init__(
        self, run_dir: Path, *, author: Author, first_seq: int, policy: FlushPolicy
    ) -> None:
        root = Path(policy.spill_root or tempfile.gettempdir())
        self.spill_dir = spill_dir(root, run_dir)
        self.last_error: Exception | None = None
        self._author = author
        self._policy = policy
        self._backlog = Backlog(
            run_dir, spill_dir=self.spill_dir, author=author, first_seq=first_seq
        )
        self._lock = threading.Lock()
        self._progress = threading.Condition(self._lock)
        self._wake = threading.Event()
        self._inbox: deque[tuple[TrainingProgress, Sequence[Record]]] = deque()
        self._inbox_rows = 0
        self._put = 0  # appends so far; the number of an append is its ticket
        self._committed = 0
        self._tries = self._failed_try = 0  # how many were begun, and the last that failed
        self._retry_at = 0.0
        self._retry_s = _FIRST_RETRY_S
        self._stopping = False
        self._compact_at_end = False
        self._spill_failed = False
        self._removals: deque[tuple[float, list[Path]]] = deque()
        self._thread = threading.Thread(target=self._loop, name="devtrack-flusher", daemon=True)
        self._thread.start()

    def put(self, clock: TrainingProgress, records: Sequence[Record]) -> None:
        """Take records; never waits for a disk."""
        rows = sum(map(num_records, records))
        with self._lock:
            self._inbox.append((clock, records))
            self._put += 1
            self._inbox_rows += rows
            urgent = self._inbox_rows >= self._policy.wake_rows
        if urgent and not self._wake.is_set():
            self._wake.set()

    def wait_committed(self, timeout_s: float, *, patient: bool = True) -> bool:
        """Write now, and say whether all that was put before this call is in the store.

        Args:
            timeout_s: Longest wait. After an error that is no outage, nothing more is waited for.
            patient: False waits for no more than one new try where the store has been failing.
        """
        with self._lock:
            ticket, tries = self._put, self._tries
            waits = patient or self.last_error is None
            self._retry_at, self._retry_s = 0.0, _FIRST_RETRY_S
            self._wake.set()
            self._progress.wait_for(
                lambda: (
                    self._committed >= ticket
                    or (self._failed_try > tries and (not waits or is_defect(self.last_error)))
                ),
                timeout_s,
            )
            return self._committed >= ticket

    def stop(self, timeout_s: float, *, compact: bool) -> bool:
        """Write what is left, end the thread, and say whether everything is in the store.

        Segments that a wider one covers go when the grace is over, after the return.
        What cannot be written until the timeout goes to the spill folder.
        """
        done = self.wait_committed(timeout_s)
        self._compact_at_end = compact and done
        self._stopping = True
        self._wake.set()
        self._thread.join(None if done else timeout_s)
        return self._committed >= self._put

    @property
    def advice(self) -> str:
        """What the user can do about the last error."""
        if is_defect(self.last_error):
            return "This is no outage of the disk: report it as a defect of devtrack"
        return "Free space or restore the connection"

    @property
    def waiting_rows(self) -> int:
        """Rows in memory that are in no file yet."""
        return self._inbox_rows + self._backlog.rows_in_memory

    # ---------------------------------------------------------------- within the thread

    def _loop(self) -> None:
        connection = writer_connection()
        while not self._stopping:
            self._wake.wait(self._pause_s())
            self._wake.clear()
            self._round(connection)
        self._round(connection)
        if self._backlog:
            self._spill(connection)
        elif self._compact_at_end:
            for table in self._backlog.segments_written:
                self._compact(connection, table)
        connection.close()
        self._remove_covered_later()

    def _pause_s(self) -> float:
        failing_for = self._retry_at - time.monotonic()
        return failing_for if failing_for > 0 else self._policy.interval_s

    def _round(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._remove_covered()
        crowded = self.waiting_rows > self._policy.max_pending_rows
        in_a_hurry = self._stopping or (crowded and not is_defect(self.last_error))
        if time.monotonic() < self._retry_at and not in_a_hurry:
            return
        self._tries += 1
        try:
            self._drain()
            self._backlog.commit(connection)
        except Exception as error:  # noqa: BLE001  the thread must outlive any error
            self._failed(error)
            if crowded:
                self._spill(connection)
        else:
            self._succeeded()
            for table, count in self._backlog.segments_written.items():
                if count >= self._policy.compact_after:
                    self._compact(connection, table)
        finally:
            with self._lock:
                self._committed = self._backlog.committed
                self._progress.notify_all()

    def _drain(self) -> None:
        with self._lock:
            entries, rows, ticket = list(self._inbox), self._inbox_rows, self._put
        self._backlog.add(entries, ticket=ticket)
        with self._lock:  # only now: an error above must not lose them
            for _ in entries:
                self._inbox.popleft()
            self._inbox_rows -= rows

    def _succeeded(self) -> None:
        if self.last_error is not None:
            _log.warning("%s can be written again; no row was lost.", self._backlog.run_dir)
        self.last_error = None
        self._spill_failed = False
        self._retry_at, self._retry_s = 0.0, _FIRST_RETRY_S

    def _failed(self, error: Exception) -> None:
        first, self.last_error = self.last_error is None, error
        if first:
            _log.warning(
                "%s cannot be written (%s). Training goes on; rows wait in memory and are tried "
                "again. %s.",
                self._backlog.run_dir,
                error,
                self.advice,
            )
        self._failed_try = self._tries
        wait_s = _LAST_RETRY_S if is_defect(error) else self._retry_s
        self._retry_at = time.monotonic() + wait_s
        self._retry_s = min(2 * self._retry_s, _LAST_RETRY_S)

    def _spill(self, connection: duckdb.DuckDBPyConnection) -> None:
        first = not spilled_segments(self.spill_dir)
        try:
            self._backlog.spill(connection)
        except Exception as error:  # noqa: BLE001  the thread must outlive any error
            if not self._spill_failed:
                _log.warning("%s cannot be written either (%s).", self.spill_dir, error)
            self._spill_failed = True
        if first and spilled_segments(self.spill_dir):
            _log.warning(
                "Rows of run %s went to %s, since the store cannot be written. They move to the "
                "store when it can be; if the process ends before, call open_store(%r).adopt(%r).",
                self._author.run_id,
                self.spill_dir,
                str(self._backlog.run_dir.parent),
                str(self.spill_dir),
            )

    def _compact(self, connection: duckdb.DuckDBPyConnection, table: str) -> None:
        self._backlog.segments_written[table] = 0
        folder = segment_dir(self._backlog.run_dir, table)
        try:
            covered = compact_writer(
                connection, folder, attempt=self._author.attempt, rank=self._author.rank
            )
        except Exception as error:  # noqa: BLE001  the thread must outlive any error
            _log.warning("%s was not compacted (%s); nothing is lost.", folder, error)
            return
        if covered:
            self._removals.append((time.monotonic() + self._policy.grace_s, covered))

    def _remove_covered_later(self) -> None:
        """Remove what is covered when the grace is over, without making ``close`` wait for it.

        The timer is no daemon: an interpreter that ends waits for it. Where it cannot be started,
        the interpreter is ending already, and the next compaction removes the files.
        """
        paths = [path for _, covered in self._removals for path in covered]
        if paths:
            with contextlib.suppress(RuntimeError):
                threading.Timer(self._policy.grace_s, _remove_all, [paths]).start()

    def _remove_covered(self) -> None:
        while self._removals and self._removals[0][0] <= time.monotonic():
            _remove_all(self._removals.popleft()[1])


def _remove_all(paths: Iterable[Path]) -> None:
    for path in paths:
        remove_quietly(path)
