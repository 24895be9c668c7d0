"""Many small segments become one; at every instant a reader sees each row exactly once.

The wide file appears first. Its rows then exist twice, and the views leave out the files that it
covers. The narrow files are removed after a grace period, when no reader can still hold a listing
without the wide one. A crash in between leaves covered files, which the next compaction
removes.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import duckdb

from devtrack.store._atomic_files import make_dirs, remove_quietly
from devtrack.store._layout import (
    WRITER_TABLES,
    SegmentName,
    quarantine_dir,
    segment_dir,
    spans,
    uncovered,
)
from devtrack.store._listing import list_segments
from devtrack.store._schema import quoted_pattern
from devtrack.store._segments import copy_to_parquet

_LOCK_FILE = ".compact.lock"
_MAX_LISTINGS = 20


class Compaction(NamedTuple):
    """What one compaction did.

    Args:
        segments_before, segments_after: Files of the table folders that were looked at.
    """

    segments_before: int
    segments_after: int


def compact_run(
    connection: duckdb.DuckDBPyConnection, run_dir: Path, *, grace_s: float
) -> Compaction:
    """Compact every writer's segments of a run, wait the grace, and remove what is covered.

    Raises:
        OSError, duckdb.Error: Nothing is lost; what was done stays.
    """
    folders = [segment_dir(run_dir, table) for table in WRITER_TABLES]
    before = sum(len(list_segments(folder)) for folder in folders)
    covered: list[Path] = []
    try:
        for folder in folders:
            for attempt, rank in sorted({(n.attempt, n.rank) for n in list_segments(folder)}):
                covered += compact_writer(connection, folder, attempt=attempt, rank=rank)
    finally:
        if covered:
            time.sleep(grace_s)
        for path in covered:
            remove_quietly(path)
    return Compaction(before, sum(len(list_segments(folder)) for folder in folders))


def compact_writer(
    connection: duckdb.DuckDBPyConnection, folder: Path, *, attempt: int, rank: int
) -> list[Path]:
    """Write one segment with all rows of a writer, and return the files that it covers.

    Around a damaged segment in quarantine the rows stay in two files, so that it can be restored.

    Args:
        connection: From ``segments.writer_connection``.
        folder: Segments of one table of one run.
        attempt, rank: The writer, which may be writing meanwhile.

    Returns:
        Files for the caller to remove after a grace; empty when there is nothing to do or another
        process is compacting this run.

    Raises:
        OSError, duckdb.Error: No segment was written.
    """
    with _only_compactor(folder.parent) as alone:
        if not alone:
            return []
        names = [n for n in _stable_listing(folder) if (n.attempt, n.rank) == (attempt, rank)]
        run_dir, table = folder.parents[1], folder.name
        # listed last: a segment that went to quarantine in between is missed as a file, not as a
        # gap
        aside = list_segments(quarantine_dir(run_dir, table))
        gaps = {name for name in aside if (name.attempt, name.rank) == (attempt, rank)}
        kept: list[SegmentName] = []
        for part in spans(uncovered(names), gaps):
            wide = SegmentName(attempt, rank, part[0].lo, part[-1].hi)
            if len(part) > 1:
                files = ", ".join(f"'{quoted_pattern(folder / str(name))}'" for name in part)
                source = f"read_parquet([{files}], union_by_name = true, hive_partitioning = false)"
                copy_to_parquet(connection, f"FROM {source}", folder / str(wide))
            kept.append(wide)
        return [folder / str(name) for name in names if name not in kept]


def _stable_listing(folder: Path) -> set[SegmentName]:
    """List until two listings agree.

    One listing of a folder that a writer adds to may hold a later segment and lack an earlier one.
    A wide file made from it would cover rows that it does not hold.
    """
    names = list_segments(folder)
    for _ in range(_MAX_LISTINGS):
        again = list_segments(folder)
        if again == names:
            return names
        names = again
    return set()


@contextlib.contextmanager
def _only_compactor(folder: Path) -> Iterator[bool]:
    """Hold a lock that ends with the process; two compactors could cover each other's files."""
    make_dirs(folder)
    descriptor = os.open(folder / _LOCK_FILE, os.O_CREAT | os.O_RDWR, 0o666)
    try:
        yield _try_lock(descriptor)
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except PermissionError:
        return False
    return True
