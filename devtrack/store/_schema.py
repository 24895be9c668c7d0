"""``schema.sql`` in the three parts that the store executes: tables, files, views."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import NamedTuple

import duckdb

_HEADING = re.compile(r"^-- =+ (tables|files|views)$", re.MULTILINE)

_ESCAPES = str.maketrans({char: f"[{char}]" for char in "*?["})


class Column(NamedTuple):
    """A column of a table, with its DuckDB type."""

    name: str
    type: str


@cache
def _text() -> str:
    return resources.files("devtrack.store").joinpath("schema.sql").read_text("utf-8")


@cache
def _parts() -> dict[str, str]:
    _, *rest = _HEADING.split(_text())
    return dict(zip(rest[::2], rest[1::2]))


def schema_fingerprint() -> str:
    """Return 16 hex digits that change with any word of ``schema.sql`` and with the detector."""
    return hashlib.sha256((_text() + detector()).encode()).hexdigest()[:16]


@cache
def detector() -> str:
    """Return 16 hex digits that change with any word of ``devtrack/changepoints``.

    A number that is raised by hand is forgotten; a changed comment costs one analysis more.
    """
    folder = resources.files("devtrack").joinpath("changepoints")
    text = b"".join(data.replace(b"\r\n", b"\n") for data in _sources(folder))
    return hashlib.sha256(text).hexdigest()[:16]


def _sources(folder: Traversable) -> Iterator[bytes]:
    """Yield the content of the Python files of a folder and its subfolders, by name."""
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            yield from _sources(entry)
        elif entry.name.endswith(".py"):
            yield entry.read_bytes()


def views_sql(store: Path, *, files: str | None = None) -> str:
    """Return the statements that create every view over the store at an absolute path.

    Args:
        store: The store's folder.
        files: Statement that creates ``segment.rows_of``; that of ``schema.sql`` if None.
    """
    text = "CREATE SCHEMA segment;\n" + (files or _parts()["files"]) + _parts()["views"]
    words = {
        "$STORE_TEXT": _quoted(str(store)),
        "$STORE": quoted_pattern(store),
        "$FINGERPRINT": schema_fingerprint(),
        "$DETECTOR": detector(),
    }
    for word, meaning in words.items():
        text = text.replace(word, meaning)
    return text


def columns_of(table: str) -> tuple[Column, ...]:
    """Return the columns of a table of ``schema.sql``, in order."""
    return _columns()[table]


@cache
def _columns() -> dict[str, tuple[Column, ...]]:
    with duckdb.connect(":memory:", config={"threads": 1}) as connection:
        connection.execute("CREATE SCHEMA segment;\n" + _parts()["tables"])
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


def glob_of(path: Path) -> str:
    """Return the glob that matches one path only, as DuckDB takes the names of files."""
    return str(path).translate(_ESCAPES)


def quoted_pattern(path: Path) -> str:
    """Return ``glob_of`` a path for use within quotes."""
    return _quoted(glob_of(path))


def _quoted(text: str) -> str:
    return text.replace("'", "''")
