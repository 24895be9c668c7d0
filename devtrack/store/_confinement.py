"""A DuckDB connection that reads one store and nothing else, for a limited time."""

from __future__ import annotations

import os
import secrets
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb

from devtrack._checks import require_int, require_positive
from devtrack.errors import QueryError
from devtrack.store._schema import glob_of
from devtrack.store._statements import shown


@dataclass(frozen=True, kw_only=True)
class QueryLimits:
    """How much one query may take, so that no query holds a process for ever.

    Args:
        timeout_s: Seconds that it may run. Chosen by hand: above any query of devtrack itself.
        max_rows: Rows that it may return. They are held in memory. Chosen by hand.

    Raises:
        ConfigError: A limit is not above 0.
    """

    timeout_s: float = 300.0
    max_rows: int = 10_000_000

    def __post_init__(self) -> None:
        require_positive("timeout_s", self.timeout_s, example=300.0)
        require_int("max_rows", self.max_rows, at_least=1, example=10_000_000)

    def replaced(self, *, timeout_s: float | None, max_rows: int | None) -> QueryLimits:
        """Return these limits with those that are given in their place."""
        given = {"timeout_s": timeout_s, "max_rows": max_rows}
        return replace(self, **{name: value for name, value in given.items() if value is not None})


def open_connection() -> duckdb.DuckDBPyConnection:
    """Return an in-memory DuckDB that loads no extension, and is not confined yet.

    It spills into a folder of a random name that exists only while it spills: DuckDB would take
    ``.tmp`` in the working folder.
    """
    folder = f"devtrack-{os.getpid()}-{secrets.token_hex(8)}"
    return duckdb.connect(
        ":memory:",
        config={
            # a Python variable must not answer to the name of a table that does not exist
            "python_enable_replacements": False,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "allow_community_extensions": False,
            "allow_persistent_secrets": False,
            "temp_directory": str(Path(tempfile.gettempdir()) / folder),
        },
    )


def confine(
    connection: duckdb.DuckDBPyConnection, store: Path, *, target: Path | None = None
) -> None:
    """Leave a connection, and all its cursors, nothing but the files of a store; for good.

    DuckDB follows links before it compares, so a link in the store opens nothing beside it.

    Args:
        connection: From ``open_connection``.
        store: The store's folder.
        target: One more file, to be written.
    """
    folders = {str(store), glob_of(store)}  # DuckDB also compares a pattern as it is written
    connection.execute("SET allowed_directories = ?", [sorted(folders)])
    if target is not None:
        connection.execute("SET allowed_paths = ?", [[str(target)]])
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


@contextmanager
def time_limit(
    connection: duckdb.DuckDBPyConnection, query: str, limits: QueryLimits
) -> Iterator[None]:
    """Interrupt a connection that is still running when its time is over.

    Raises:
        QueryError: The time is over.
    """
    over = threading.Event()

    def interrupt() -> None:
        over.set()
        connection.interrupt()

    timer = threading.Timer(limits.timeout_s, interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield
    except (duckdb.Error, RuntimeError) as error:
        if not over.is_set():
            raise
        raise QueryError(
            f"{shown(query)!r}: ran longer than timeout_s={limits.timeout_s:g}; a query may run "
            "for timeout_s seconds. Ask for less, for one run or metric, or pass a larger "
            "timeout_s (--timeout-s)."
        ) from error
    finally:
        timer.cancel()
        timer.join()  # its closure holds the connection, which must not outlive the interpreter


def too_many_rows(query: str, limits: QueryLimits) -> QueryError:
    """Return the error of a query with more rows than the limit."""
    return QueryError(
        f"{shown(query)!r}: has more than max_rows={limits.max_rows} rows; a query may return "
        "max_rows rows. Ask for fewer with WHERE or LIMIT, or pass a larger max_rows (--max-rows)."
    )
