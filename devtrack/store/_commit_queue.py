"""Rows on their way into the store: numbered, cut into segments, committed in order, or spilled."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from devtrack.records import Record, TrainingProgress
from devtrack.store._encoding import Author, Columns, Stamped, num_records, table_of, to_columns
from devtrack.store._layout import WRITER_TABLES, SegmentName, segment_dir
from devtrack.store._overflow import move_in
from devtrack.store._segments import is_defect, write_segment


@dataclass
class _Batch:
    """Rows of one table that become one segment.

    Args:
        committed_before: Ticket of the last append before those that this batch holds rows of.
        columns: None once they are in the file ``spilled``.
    """

    table: str
    name: SegmentName
    num_records: int
    committed_before: int
    columns: Columns | None
    spilled: Path | None = None


class Backlog:
    """What one writer still has to commit. Used by one thread.

    Args:
        run_dir: The run's folder in the store.
        spill_dir: Folder for rows that do not fit in memory while the store fails.
        author: Run, attempt and rank.
        first_seq: Sequence number of the first record.
    """

    def __init__(self, run_dir: Path, *, spill_dir: Path, author: Author, first_seq: int) -> None:
        self.run_dir = run_dir
        self.spill_dir = spill_dir
        self.segments_written: dict[str, int] = dict.fromkeys(WRITER_TABLES, 0)
        self._author = author
        self._next_seq = first_seq
        self._batches: deque[_Batch] = deque()
        self._ticket = 0

    def __len__(self) -> int:
        return len(self._batches)

    @property
    def rows_in_memory(self) -> int:
        """Rows that are neither committed nor spilled."""
        return sum(batch.num_records for batch in self._batches if batch.columns is not None)

    @property
    def committed(self) -> int:
        """Ticket of the last append whose rows, and all before, are in the store."""
        return self._batches[0].committed_before if self._batches else self._ticket

    def add(
        self, entries: Iterable[tuple[TrainingProgress, Sequence[Record]]], *, ticket: int
    ) -> None:
        """Take records, one batch per table, in the order of commit.

        Args:
            entries: As they were appended.
            ticket: Number of the last append among them.

        Raises:
            Exception: None of them was taken; the same call can be repeated.
        """
        by_table: dict[str, list[Stamped]] = {table: [] for table in WRITER_TABLES}
        seq = self._next_seq
        for clock, records in entries:
            for record in records:
                by_table[table_of(record)].append(Stamped(seq, clock, record))
                seq += 1
        self._batches += [
            self._batch(table, stamped) for table, stamped in by_table.items() if stamped
        ]
        self._next_seq, self._ticket = seq, ticket

    def _batch(self, table: str, stamped: Sequence[Stamped]) -> _Batch:
        attempt, rank = self._author.attempt, self._author.rank
        return _Batch(
            table=table,
            name=SegmentName(attempt, rank, stamped[0].seq, stamped[-1].seq),
            num_records=sum(num_records(item.record) for item in stamped),
            committed_before=self._ticket,
            columns=to_columns(table, stamped, self._author),
        )

    def commit(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Commit every batch, in order.

        Raises:
            OSError, duckdb.Error: The batches from the failed one on are still here.
        """
        while self._batches:
            batch = self._batches[0]
            path = segment_dir(self.run_dir, batch.table) / str(batch.name)
            if batch.spilled is not None:
                move_in(batch.spilled, path)
            elif batch.columns is not None:
                write_segment(connection, table=batch.table, columns=batch.columns, path=path)
            self._batches.popleft()
            self.segments_written[batch.table] += 1

    def spill(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Write what is in memory to the spill folder; ``commit`` takes it from there.

        Raises:
            Exception: What could not be written is still in memory. Where rows cannot be written
                anywhere (``is_defect``), the others are in the folder.
        """
        defect: Exception | None = None
        for batch in self._batches:
            if batch.columns is None:
                continue
            path = segment_dir(self.spill_dir / self._author.run_id, batch.table) / str(batch.name)
            try:
                write_segment(connection, table=batch.table, columns=batch.columns, path=path)
            except Exception as error:
                if not is_defect(error):
                    raise
                defect = defect or error
            else:
                batch.columns, batch.spilled = None, path
        if defect is not None:
            raise defect
