"""Write one segment: rows in, one committed Parquet file out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb

from devtrack.store._atomic_files import make_dirs, publish, remove_quietly, temporary_name
from devtrack.store._schema import columns_of, select_list

_DEFECTS = (
    duckdb.ProgrammingError,  # a column that is missing, or too short
    duckdb.DataError,  # a value outside the type of its column
    duckdb.NotSupportedError,
    AssertionError,
    AttributeError,
    LookupError,
    NameError,
    TypeError,
    ValueError,
)


def is_defect(error: Exception | None) -> bool:
    """Say whether an error of writing lies in the rows or in devtrack, so that waiting is in vain.

    All other errors may be an outage of the disk, which ends.
    """
    return isinstance(error, _DEFECTS)


def writer_connection() -> duckdb.DuckDBPyConnection:
    """Return an in-memory DuckDB for writing: one thread, so as not to compete with training."""
    return duckdb.connect(
        ":memory:",
        config={
            "threads": 1,
            "autoinstall_known_extensions": False,  # a file of somebody else's may ask for one
            "autoload_known_extensions": False,
        },
    )


def write_segment(
    connection: duckdb.DuckDBPyConnection, *, table: str, columns: Mapping[str, Any], path: Path
) -> None:
    """Commit rows as one Parquet file: on return they survive a crash, all or nothing.

    Args:
        connection: From ``writer_connection``; used by one thread at a time.
        table: Name in ``schema.sql``.
        columns: One array per column of the table, all of one length.
        path: Name of the segment. If it exists it is replaced, so a failed call can be repeated.

    Raises:
        OSError, duckdb.Error: Nothing was committed, or all of it was.
    """
    connection.register("batch", dict(columns))
    try:
        copy_to_parquet(connection, f"SELECT {select_list(table)} FROM batch", path)
    finally:
        connection.unregister("batch")


def write_empty_segment(connection: duckdb.DuckDBPyConnection, *, table: str, path: Path) -> None:
    """Commit a file that has the table's columns and no rows."""
    nulls = ", ".join(f'NULL::{kind} AS "{name}"' for name, kind in columns_of(table))
    copy_to_parquet(connection, f"SELECT {nulls} LIMIT 0", path)


def copy_to_parquet(connection: duckdb.DuckDBPyConnection, query: str, path: Path) -> None:
    """Commit a query's result as one Parquet file.

    Raises:
        OSError, duckdb.Error: Nothing was committed, or all of it was.
    """
    make_dirs(path.parent)
    temporary = temporary_name(path)
    target = str(temporary).replace("'", "''")
    try:
        connection.execute(f"COPY ({query}) TO '{target}' (FORMAT parquet)")
        publish(temporary, path)
    except BaseException:
        remove_quietly(temporary)
        raise
