"""The views: in a reader's own memory, and in ``devtrack.duckdb`` for everybody else."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Collection
from pathlib import Path

import duckdb

from devtrack.store._atomic_files import make_dirs, read_small_file, write_atomically
from devtrack.store._confinement import confine, open_connection
from devtrack.store._layout import (
    ATTEMPTS_DIR,
    RUN_FILE,
    SCHEMA_DIR,
    TABLES,
    VIEWS_FILE,
    WRITER_TABLES,
    segment_dir,
)
from devtrack.store._listing import current_files
from devtrack.store._schema import glob_of, schema_fingerprint, views_sql
from devtrack.store._segments import write_empty_segment, writer_connection

_OLDEST_STORAGE = "v1.0.0"
"""Clients from DuckDB 1.0 on can open the file; DuckDB 2.0 still writes it."""


_MAX_LABEL, _MAX_VIEWS_FILE = 100_000, 100_000_000  # bytes; the file has one or two million

_LISTED = """
CREATE MACRO segment.rows_of(name) AS TABLE
    FROM read_parquet(getvariable('segments_' || name), union_by_name = true,
                      hive_partitioning = false);
"""
"""Over a list of files DuckDB skips what a query does not ask for; see ``schema.sql``."""


def reader_connection(
    store: Path, *, target: Path | None = None, left_out: Collection[Path] = ()
) -> duckdb.DuckDBPyConnection:
    """Return an in-memory DuckDB with every view over the store; it holds no file of it.

    It is confined to the store.

    Args:
        store: The store's folder.
        target: A file beside the store that it may write.
        left_out: Files that cannot be read.

    Raises:
        duckdb.Error: A segment is damaged, or the schema folder is missing.
    """
    connection = open_connection()
    connection.execute("SET parquet_metadata_cache = true")
    confine(connection, store, target=target)
    list_files(connection, store, left_out=left_out)
    connection.execute(views_sql(store, files=_LISTED))
    return connection


def list_files(
    connection: duckdb.DuckDBPyConnection, store: Path, *, left_out: Collection[Path] = ()
) -> None:
    """Tell a connection which files the views read: those of this moment.

    Each cursor of a ``reader_connection`` has a list of its own, which is renewed before it
    queries.

    Args:
        connection: A cursor of a ``reader_connection``.
        store: The store's folder.
        left_out: Files that cannot be read.
    """
    for table in reversed(WRITER_TABLES):  # what was committed before a listed row is listed too
        files = [glob_of(path) for path in current_files(store, table) if path not in left_out]
        connection.execute(f"SET VARIABLE segments_{table} = ?", [files])


def schema_files(store: Path) -> dict[str, Path]:
    """Return the empty twin of each table's segments: every glob matches, every type is known."""
    name = f"{schema_fingerprint()}.parquet"  # columns added later get a twin of their own
    return {table: segment_dir(store / SCHEMA_DIR, table) / name for table in TABLES}


def write_schema_files(store: Path) -> None:
    """Write the empty twins that are missing.

    Raises:
        OSError, duckdb.Error: The store cannot be written.
    """
    missing = {table: path for table, path in schema_files(store).items() if not path.exists()}
    if missing:
        with writer_connection() as connection:
            for table, path in missing.items():
                write_empty_segment(connection, table=table, path=path)
    for path in (
        store / SCHEMA_DIR / RUN_FILE,
        store / SCHEMA_DIR / ATTEMPTS_DIR / "none.json",
    ):
        if not path.exists():
            make_dirs(path.parent)
            write_atomically(path, b"{}\n")


def views_file_is_current(store: Path) -> bool:
    """Say whether ``devtrack.duckdb`` is the file that was written for this very folder.

    Nothing of the file is executed or even parsed: a view of somebody else's may run for ever. A
    line beside it says what it was made of, with a hash of its bytes.
    """
    path = store / VIEWS_FILE
    try:
        known = json.loads(read_small_file(_label(store), _MAX_LABEL))
        content = read_small_file(path, _MAX_VIEWS_FILE)
    except (OSError, ValueError):
        return False
    return known == _identity(store, content)


def _label(store: Path) -> Path:
    return store / SCHEMA_DIR / f"{VIEWS_FILE}.json"


def _identity(store: Path, content: bytes) -> dict[str, str]:
    return {
        "store": str(store),
        "fingerprint": schema_fingerprint(),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def write_views_file(store: Path) -> None:
    """Write ``devtrack.duckdb`` anew; who has the old one open keeps it.

    It is built in a temporary folder. DuckDB leaves a write-ahead log beside a file that it writes,
    and takes a '?' in a path for the start of options.

    Raises:
        OSError: The store cannot be written.
        duckdb.Error: A segment is damaged.
    """
    with tempfile.TemporaryDirectory(prefix="devtrack-") as folder:
        path = Path(folder) / VIEWS_FILE
        quoted = str(path).replace("'", "''")
        with duckdb.connect(":memory:") as connection:
            connection.execute(f"ATTACH '{quoted}' AS door (STORAGE_VERSION '{_OLDEST_STORAGE}')")
            connection.execute("USE door")
            connection.execute(views_sql(store))
            connection.execute("USE memory")
            connection.execute("DETACH door")
        content = path.read_bytes()
    write_atomically(store / VIEWS_FILE, content)
    make_dirs(_label(store).parent)
    write_atomically(_label(store), (json.dumps(_identity(store, content)) + "\n").encode())
