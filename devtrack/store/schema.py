"""``schema.sql`` in the two halves that the store executes: tables to write, views to read."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import duckdb

_VIEWS_HEADING = (
    "-- ============================================================================= views"
)


class Column(NamedTuple):
    """A column of a table, with its DuckDB type."""

    name: str
    type: str


@cache
def _halves() -> tuple[str, str]:
    text = resources.files("devtrack").joinpath("schema.sql").read_text("utf-8")
    tables, views = text.split(_VIEWS_HEADING)
    return tables, views


def fingerprint() -> str:
    """Return 16 hex digits that change with any word of ``schema.sql`` and with the detector."""
    text = "".join((*_halves(), detector()))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@cache
def detector() -> str:
    """Return 16 hex digits that change with any word of ``devtrack/changepoints``.

    A number that is raised by hand is forgotten; a changed comment costs one analysis more.
    """
    folder = resources.files("devtrack").joinpath("changepoints")
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".py")), key=lambda f: f.name)
    text = b"".join(f.read_bytes().replace(b"\r\n", b"\n") for f in files)
    return hashlib.sha256(text).hexdigest()[:16]


def views_sql(store: Path) -> str:
    """Return the statements that create every view over the store at an absolute path."""
    return "CREATE SCHEMA segment;\n" + _halves()[1].replace(
        "$STORE_TEXT", _quoted(str(store))
    ).replace("$STORE", quoted_pattern(store)).replace("$FINGERPRINT", fingerprint()).replace(
        "$DETECTOR", detector()
    )


def columns_of(table: str) -> tuple[Column, ...]:
    """Return the columns of a table of ``schema.sql``, in order."""
    return _columns()[table]


@cache
def _columns() -> dict[str, tuple[Column, ...]]:
    with duckdb.connect(":memory:", config={"threads": 1}) as connection:
        connection.execute("CREATE SCHEMA segment;\n" + _halves()[0])
        rows = connection.execute(
            "SELECT table_name, column_name, data_type FROM duckdb_columns() "
            "WHERE schema_name = 'segment' ORDER BY table_name, column_index"
        ).fetchall()
    tables = {name for name, *_ in rows}
    return {table: tuple(Column(*row[1:]) for row in rows if row[0] == table) for table in tables}


def select_list(table: str) -> str:
    """Return the select list that gives raw columns of these names the table's exact types."""
    return ", ".join(f'{_converted(column)} AS "{column.name}"' for column in columns_of(table))


def _converted(column: Column) -> str:
    if column.type == "JSON":
        return f'"{column.name}"::VARCHAR::JSON'
    if column.type == "DOUBLE":
        return f"nullif(\"{column.name}\"::DOUBLE, 'NaN'::DOUBLE)"
    return f'"{column.name}"::{column.type}'


def quoted_pattern(path: Path) -> str:
    """Return a path for use within quotes in ``read_parquet``, with glob characters escaped."""
    return _quoted("".join(f"[{char}]" if char in "*?[" else char for char in str(path)))


def _quoted(text: str) -> str:
    return text.replace("'", "''")
