"""Damaged segments: found, named and moved to quarantine; never deleted."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import duckdb

from devtrack.errors import StoreError
from devtrack.store._atomic_files import make_dirs
from devtrack.store._layout import SCHEMA_DIR, SEGMENTS_DIR, StoreWarning, quarantine_dir
from devtrack.store._schema import quoted_pattern
from devtrack.store._segments import writer_connection


class Damage(NamedTuple):
    """A segment that DuckDB cannot read, and its complaint."""

    path: Path
    complaint: str


def find_damage(store: Path) -> list[Damage]:
    """Read every segment whole and return those that fail."""
    with writer_connection() as connection:
        return list(_damaged(connection, store.glob(f"*/{SEGMENTS_DIR}/*/*.parquet")))


def _damaged(connection: duckdb.DuckDBPyConnection, paths: Iterator[Path]) -> Iterator[Damage]:
    for path in paths:
        source = f"read_parquet('{quoted_pattern(path)}', hive_partitioning = false)"
        try:
            # hash(COLUMNS(*)) makes DuckDB decode every page; count(*) would read the footer only
            connection.execute(f"SELECT max(hash(COLUMNS(*))) FROM {source}").fetchall()
        except duckdb.Error as error:
            if path.exists():  # not merely compacted away meanwhile
                yield Damage(path, " ".join(str(error).split()))


def quarantine_damage(store: Path) -> list[Damage]:
    """Move damaged segments to ``<run>/quarantine/<table>/`` with a warning that names each.

    Raises:
        StoreError: One is damaged and cannot be moved.
    """
    found = find_damage(store)
    for path, complaint in found:
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
