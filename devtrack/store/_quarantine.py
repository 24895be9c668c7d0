"""Segments that cannot be read: damaged ones move to quarantine, all others stay where they are.

Only an error of the content condemns a segment. A stale file handle, a missing permission or a
failing disk says nothing about it. So a segment that DuckDB cannot read is read byte by byte. Its
private copy is examined, with which the disk has nothing to do.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import duckdb

from devtrack.errors import StoreError
from devtrack.store._atomic_files import make_dirs
from devtrack.store._layout import (
    QUARANTINE_DIR,
    SCHEMA_DIR,
    SEGMENTS_DIR,
    StoreWarning,
    quarantine_dir,
    segment_dir,
)
from devtrack.store._schema import quoted_pattern
from devtrack.store._segments import writer_connection


class Fault(NamedTuple):
    """A segment that cannot be read, and why."""

    path: Path
    complaint: str


class Faults(NamedTuple):
    """What cannot be read in a store.

    Attributes:
        damaged: Segments whose content is damaged.
        unreadable: Segments that this process cannot read at this moment. Nothing is known of their
            content.
    """

    damaged: list[Fault]
    unreadable: list[Fault]


class Restored(NamedTuple):
    """What became of the segments in quarantine.

    Attributes:
        restored: Whole ones, which are back among the segments.
        kept: All others, with the reason.
    """

    restored: list[Path]
    kept: list[Fault]


def find_faults(store: Path) -> Faults:
    """Read every segment whole and return those that fail."""
    return _examine(store.glob(f"*/{SEGMENTS_DIR}/*/*.parquet"))


def find_quarantined(store: Path) -> tuple[list[Path], Faults]:
    """Return the segments in quarantine, and those of them that are not whole."""
    paths = sorted(store.glob(f"*/{QUARANTINE_DIR}/*/*.parquet"))
    return paths, _examine(paths)


def quarantine_damage(store: Path) -> Faults:
    """Move damaged segments to ``<run>/quarantine/<table>/`` with a warning that names each.

    Segments that cannot be read for another reason stay.

    Returns:
        What was found; the damaged ones are moved.

    Raises:
        StoreError: One is damaged and cannot be moved.
    """
    found = find_faults(store)
    for path, complaint in found.damaged:
        run_dir = path.parents[2]
        target = quarantine_dir(run_dir, path.parent.name) / path.name
        try:
            if run_dir.name == SCHEMA_DIR:  # has no rows, and is written anew
                path.unlink()
                continue
            make_dirs(target.parent)
            path.replace(target)
        except OSError as error:
            raise StoreError(
                f"{path}: damaged ({complaint}), and it cannot be put aside ({error}). "
                "Make the store writable, or work on a copy without this file."
            ) from error
        warnings.warn(
            f"{path}: damaged ({complaint}). It was moved to {target}; its rows are missing from "
            "every view until the file is restored from a backup.",
            StoreWarning,
            stacklevel=4,
        )
    return found


def restore_whole(store: Path) -> Restored:
    """Move segments in quarantine that are whole back to where they were.

    Raises:
        StoreError: The store cannot be written.
    """
    paths, faults = find_quarantined(store)
    reasons = dict([*faults.damaged, *faults.unreadable])
    restored: list[Path] = []
    kept: list[Fault] = []
    for path in paths:
        target = segment_dir(path.parents[2], path.parent.name) / path.name
        if path in reasons:
            kept.append(Fault(path, reasons[path]))
            continue
        try:
            make_dirs(target.parent)
            os.link(path, target)  # fails where another segment has taken the name
            path.unlink()
        except FileExistsError:
            kept.append(Fault(path, f"{target} exists: its rows are in the views"))
        except OSError as error:
            raise StoreError(
                f"{path}: is whole, and cannot be moved back to {target} ({error}). "
                "Make the store writable, then run `devtrack doctor --restore` again."
            ) from error
        else:
            restored.append(target)
    return Restored(restored, kept)


def _examine(paths: Iterable[Path]) -> Faults:
    faults = Faults([], [])
    with writer_connection() as connection:
        for path, is_damaged, complaint in _failing(connection, paths):
            (faults.damaged if is_damaged else faults.unreadable).append(Fault(path, complaint))
    return faults


def _failing(
    connection: duckdb.DuckDBPyConnection, paths: Iterable[Path]
) -> Iterator[tuple[Path, bool, str]]:
    """Yield each segment that cannot be read, whether its content is damaged, and the complaint."""
    for path in paths:
        try:
            _decode(connection, path)
        except duckdb.Error as first:
            try:
                complaint = _complaint_of_content(connection, path)
            except FileNotFoundError:
                continue  # compacted away meanwhile
            except OSError as error:
                yield path, False, str(error)
            else:
                if complaint is None:
                    yield path, False, _one_line(first)
                else:
                    yield path, True, complaint


def _complaint_of_content(connection: duckdb.DuckDBPyConnection, path: Path) -> str | None:
    """Return what DuckDB says of a private copy of a segment; None if it reads the copy.

    Raises:
        OSError: The bytes cannot be read or copied, or two readings differ.
    """
    content = path.read_bytes()
    if content != path.read_bytes():
        raise OSError(f"two readings of {path} differ")
    with tempfile.TemporaryDirectory(prefix="devtrack-") as folder:
        copy = Path(folder) / path.name
        copy.write_bytes(content)
        try:
            _decode(connection, copy)
        except duckdb.Error as error:
            return _one_line(error).replace(str(copy), path.name)
    return None


def _decode(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    source = f"read_parquet('{quoted_pattern(path)}', hive_partitioning = false)"
    # hash(COLUMNS(*)) makes DuckDB decode every page; count(*) would read the footer only
    connection.execute(f"SELECT max(hash(COLUMNS(*))) FROM {source}").fetchall()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
