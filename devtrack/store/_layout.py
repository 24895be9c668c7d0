"""Where everything lies in a store. Pure names and paths; nothing here touches a disk.

::

    runs/                                    the store
      store.json                             format and its version
      devtrack.duckdb                        views only; never written by training
      _schema/                               empty twins of all files, so that every glob matches
      <run_id>/run.json                      what the run is; immutable
      <run_id>/first_batch.pt                what a run on a stream is measured on
      <run_id>/attempts/0000.json            one per process lineage of the run
      <run_id>/segments/<table>/a0000-r000-<lo>-<hi>.parquet
      <run_id>/quarantine/<table>/…          damaged segments, kept
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

FORMAT_VERSION = 1
"""Readers refuse a store with a higher one."""

STORE_FILE = "store.json"
VIEWS_FILE = "devtrack.duckdb"
SCHEMA_DIR = "_schema"
RUN_FILE = "run.json"
ATTEMPTS_DIR = "attempts"
SEGMENTS_DIR = "segments"
QUARANTINE_DIR = "quarantine"
TEMP_SUFFIX = ".tmp"
"""No glob of the views matches a name that ends so."""

WRITER_TABLES = ("chains", "snapshots", "events", "metrics")
"""In the order of commit: a metric row implies its chain traces and what was appended before it.

A tracker appends a snapshot when its file is written, which may be after the step's metrics."""
TABLES = (*WRITER_TABLES, "transitions")
VIEWS = (
    "runs",
    "metrics",
    "metrics_all",
    "metrics_latest",
    "llc",
    "probes",
    "chains",
    "snapshots",
    "events",
    "transitions",
)

_SEGMENT = re.compile(r"a(\d{4,})-r(\d{3,})-(\d+)-(\d+)\.parquet")
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


class StoreWarning(UserWarning):
    """Something in a store is not as it should be; no row was lost."""


class SegmentName(NamedTuple):
    """What a segment's file name says: whose records it holds, and which.

    Args:
        attempt, rank: The writer.
        lo, hi: Sequence numbers of the first and last record that it covers.
    """

    attempt: int
    rank: int
    lo: int
    hi: int

    def __str__(self) -> str:
        """Return the file name.

        Example:
            >>> str(SegmentName(0, 1, 20, 41))
            'a0000-r001-000000000020-000000000041.parquet'
        """
        return f"a{self.attempt:04d}-r{self.rank:03d}-{self.lo:012d}-{self.hi:012d}.parquet"

    def covers(self, other: SegmentName) -> bool:
        """Say whether every record of ``other`` is in this wider segment."""
        same_writer = (self.attempt, self.rank) == (other.attempt, other.rank)
        return same_writer and self != other and self.lo <= other.lo and self.hi >= other.hi


def parse_segment_name(file_name: str) -> SegmentName | None:
    """Return what a file name says, or None when it is not a segment's.

    Example:
        >>> parse_segment_name("a0000-r001-000000000020-000000000041.parquet")
        SegmentName(attempt=0, rank=1, lo=20, hi=41)
    """
    match = _SEGMENT.fullmatch(file_name)
    return SegmentName(*map(int, match.groups())) if match else None


def uncovered(names: list[SegmentName]) -> list[SegmentName]:
    """Return the segments that no wider one covers, in order: the rule of the views.

    Example:
        >>> wide, narrow = SegmentName(0, 0, 0, 9), SegmentName(0, 0, 5, 9)
        >>> uncovered([narrow, wide]) == [wide]
        True
    """
    kept: list[SegmentName] = []
    for name in sorted(names, key=lambda n: (n.attempt, n.rank, n.lo, -n.hi)):
        if not (kept and kept[-1].covers(name)):
            kept.append(name)
    return kept


def spans(names: list[SegmentName], apart_from: set[SegmentName]) -> list[list[SegmentName]]:
    """Cut a writer's segments where one in quarantine belongs; each part may become one file.

    A segment over a gap would cover the missing one and hide its rows for good.

    Args:
        names: As ``uncovered`` returns them.
        apart_from: Segments of the same writer that lie elsewhere and may come back.

    Example:
        >>> a, b, c = SegmentName(0, 0, 0, 4), SegmentName(0, 0, 5, 9), SegmentName(0, 0, 10, 14)
        >>> spans([a, c], {b}) == [[a], [c]], spans([a, b, c], set()) == [[a, b, c]]
        (True, True)
    """
    parts: list[list[SegmentName]] = []
    for name in names:
        wider = name._replace(lo=parts[-1][0].lo if parts else name.lo)
        if not parts or any(_cuts(other, wider) for other in apart_from):
            parts.append([name])
        else:
            parts[-1].append(name)
    return parts


def _cuts(other: SegmentName, wider: SegmentName) -> bool:
    """Say whether some records of ``wider`` are in ``other``, and some are not."""
    meet = other.lo <= wider.hi and wider.lo <= other.hi
    return meet and not (other.lo <= wider.lo and wider.hi <= other.hi)


def segment_dir(run_dir: Path, table: str) -> Path:
    """Return the folder of a table's segments."""
    return run_dir / SEGMENTS_DIR / table


def quarantine_dir(run_dir: Path, table: str) -> Path:
    """Return the folder of a table's damaged segments."""
    return run_dir / QUARANTINE_DIR / table


def attempt_file(run_dir: Path, attempt: int) -> Path:
    """Return the file that claims an attempt."""
    return run_dir / ATTEMPTS_DIR / f"{attempt:04d}.json"


def is_run_id(text: str) -> bool:
    """Say whether ``text`` can name a run's folder on every file system.

    Example:
        >>> is_run_id("grokking-20261121-093012-4f1a90c2"), is_run_id("../x"), is_run_id("_schema")
        (True, False, False)
    """
    return _RUN_ID.fullmatch(text) is not None and not text.endswith(TEMP_SUFFIX)
