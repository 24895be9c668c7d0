"""The writer of one process: append is cheap, flush commits, close leaves the store tidy."""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from devtrack.errors import StoreError
from devtrack.records import Record, TrainingProgress
from devtrack.store._encoding import Author, table_of
from devtrack.store._flusher import Flusher, FlushPolicy


class Writer:
    """Appends the records of one (run, attempt, rank); got from ``Store.writer``.

    Rows are committed in the background at least once a second. A writer that is forgotten is
    drained when the interpreter ends. After kill -9 the rows of the last second may be missing;
    those of a returned ``flush`` never are.

    Args:
        run_dir: The run's folder.
        author: Run, attempt and rank.
        first_seq: Sequence number of the first record.
        policy: When rows are written.
    """

    def __init__(
        self, run_dir: Path, *, author: Author, first_seq: int = 0, policy: FlushPolicy
    ) -> None:
        self.run_dir = run_dir
        self.run_id = author.run_id
        self.attempt = author.attempt
        self.rank = author.rank
        self._pid = os.getpid()
        self._closed = False
        self._flusher = Flusher(run_dir, author=author, first_seq=first_seq, policy=policy)
        atexit.register(self._close_at_exit)

    def append(self, clock: TrainingProgress, records: Iterable[Record]) -> None:
        """Enqueue records taken at one position in training; never waits for a disk.

        Args:
            clock: Where in training they were taken.
            records: Row, ChainTrace, Event or SnapshotRecord. They are read later: do not change
                an array or mapping after it was handed over.

        Raises:
            ConfigError: One of them is no record; none was enqueued.
            StoreError: The writer is closed, or lives in another process.
        """
        taken = tuple(records)
        for record in taken:
            table_of(record)
        if self._closed or os.getpid() != self._pid:
            raise StoreError(
                f"append: the writer of {self.run_dir} "
                f"{'is closed' if self._closed else 'was inherited by a forked process'}; "
                "one process writes until close(). Open another with Store.writer(...)."
            )
        if taken:
            self._flusher.put(clock, taken)

    def flush(self, *, timeout_s: float = 60.0) -> None:
        """Return when everything appended so far is committed: kill -9 cannot undo it.

        Raises:
            StoreError: It could not be committed within ``timeout_s``, or the store has been
                failing. So an outage delays a training at one checkpoint, not at each.
                Nothing is lost: the rows wait in memory (or in the spill folder) and are tried
                again.
        """
        if self._closed or os.getpid() != self._pid:
            return
        if not self._flusher.wait_committed(timeout_s, patient=False):
            raise StoreError(
                f"{self.run_dir}: rows could not be written "
                f"({self._flusher.last_error or 'the disk does not answer'}). They are kept and "
                f"tried again. {self._flusher.advice}, then call flush() again."
            )

    def close(self, *, compact: bool = True, timeout_s: float = 60.0) -> None:
        """Commit what is left, merge this writer's segments into one per table, end the thread.

        The segments that were merged are left out by the views at once and go within a second.

        Args:
            compact: False leaves the segments as they are.
            timeout_s: Rows that cannot be committed until then go to the spill folder.

        Raises:
            StoreError: Rows are not in the store; says where they are.
        """
        if self._closed or os.getpid() != self._pid:
            return
        self._closed = True
        atexit.unregister(self._close_at_exit)
        if not self._flusher.stop(timeout_s, compact=compact):
            lost = self._flusher.waiting_rows
            where = f"{lost} rows are lost" if lost else f"they are in {self._flusher.spill_dir}"
            raise StoreError(
                f"{self.run_dir}: the last rows could not be written "
                f"({self._flusher.last_error or 'the disk does not answer'}); {where}. "
                f"Call open_store(...).adopt({str(self._flusher.spill_dir)!r}) when it works again."
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _close_at_exit(self) -> None:
        self.close(compact=False, timeout_s=10.0)
