"""SQL in, rows out; DuckDB's complaint in one line that says what to do next."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb

from devtrack.errors import QueryError
from devtrack.store._layout import VIEWS
from devtrack.store._schema import glob_of

_FAULTS_OF_QUERY = (
    duckdb.ParserException,
    duckdb.SyntaxException,
    duckdb.CatalogException,
    duckdb.BinderException,
    duckdb.ConversionException,
    duckdb.OutOfRangeException,
    duckdb.ConstraintException,
    duckdb.TypeMismatchException,
    duckdb.NotImplementedException,
    duckdb.PermissionException,
    duckdb.InvalidInputException,
    duckdb.OutOfMemoryException,
)
_POSITION = re.compile(r"\s*LINE \d+:.*", re.DOTALL)
_COLUMN = re.compile(r'Referenced column "(.+?)" not found')
_QUERIES = ("SELECT", "FROM", "WITH", "VALUES", "PIVOT", "UNPIVOT", "DESCRIBE", "SHOW", "SUMMARIZE")
_FIRST_WORD = re.compile(
    r"(?:EXPLAIN\s*(?:ANALYZE\s*)?(?:\(\s*(?:ANALYZE|FORMAT)[^()]*\))?)?[\s(]*(\w+)", re.IGNORECASE
)


def _require_reading(connection: duckdb.DuckDBPyConnection, query: str) -> None:
    """Refuse what does more than read.

    The type of a statement does not settle it. ``EXPLAIN ANALYZE`` runs what it explains. A
    ``PIVOT`` that looks for its columns first hides a ``COPY`` around it. From DuckDB 2 on, ``WITH
    a AS (COPY …)`` stands in a SELECT.

    Raises:
        QueryError: A statement may write.
        duckdb.Error: The query cannot be parsed.
    """
    for statement in connection.extract_statements(query):
        if not _reads(statement):
            known = ", ".join(_QUERIES)
            raise QueryError(
                f"{_shown(statement.query)!r}: may write, and only what reads is run: {known} and "
                "EXPLAIN of them. For a file use `devtrack export`, Store.export or `devtrack sql "
                "--csv`; for tables and settings of your own open devtrack.duckdb in DuckDB."
            )


def _reads(statement: duckdb.Statement) -> bool:
    try:
        kind = statement.type
    except ValueError:  # DuckDB's Python client does not know all of DuckDB's statements
        return False
    if "COPY" in _keywords(statement.query):
        return False
    if kind == duckdb.StatementType.SELECT:
        return True
    first = _FIRST_WORD.match(statement.query)
    explains_or_pivots = (duckdb.StatementType.EXPLAIN, duckdb.StatementType.MULTI)
    return kind in explains_or_pivots and first is not None and first[1].upper() in _QUERIES


def _keywords(query: str) -> set[str]:
    encoded = query.encode()  # DuckDB counts bytes
    tokens = duckdb.tokenize(query)
    ends = [start for start, _ in tokens[1:]] + [len(encoded)]
    return {
        encoded[start:end].decode().strip().upper()
        for (start, kind), end in zip(tokens, ends)
        if kind == duckdb.token_type.keyword
    }


def run_query(
    connection: duckdb.DuckDBPyConnection,
    query: str,
    params: Sequence[Any] | Mapping[str, Any] | None,
) -> duckdb.DuckDBPyRelation:
    """Run a query once and return its rows as a relation.

    The rows are in memory, so later compaction or a closed store cannot touch them.

    Raises:
        QueryError: A statement may write.
        duckdb.Error: As DuckDB has it.
    """
    _require_reading(connection, query)
    relation = connection.sql(query, params=params)
    if relation is None:
        raise duckdb.ParserException("the query says nothing")
    if duckdb.__version__.startswith("1."):
        relation.execute()  # pyright: ignore[reportCallIssue]  (gone in DuckDB 2)
        return relation
    return relation.materialize()


def may_be_damage(error: duckdb.Error, store: Path) -> bool:
    """Say whether a file of the store may be to blame rather than the SQL.

    DuckDB has no error class for a damaged Parquet file. It may raise an IO error, an internal
    error, or invalid input that mentions Parquet. The footer's parser may raise a bare error that
    names no file. Of 403 errors after random damage to a segment all but one were of these.
    """
    if isinstance(error, duckdb.IOException):
        names = (str(store), glob_of(store))
        return any(name in str(error) for name in names)  # else the query itself names the file
    speaks_of_file = any(words in str(error) for words in (".parquet", "Parquet file"))
    return speaks_of_file or not isinstance(error, _FAULTS_OF_QUERY)


def is_vanished_file(error: duckdb.Error) -> bool:
    """Say whether a segment was compacted away between listing and opening."""
    gone = ("No such file", "No files found that match")  # while it is read, while it is planned
    return isinstance(error, duckdb.IOException) and any(words in str(error) for words in gone)


def query_error(query: str, error: duckdb.Error) -> QueryError:
    """Return the error in three parts: the query, DuckDB's complaint with its hint, what next."""
    complaint = " ".join(_POSITION.sub("", str(error)).split()).rstrip(".")
    complaint += "" if complaint.endswith("?") else "."
    if isinstance(error, duckdb.CatalogException):
        following = f"Views: {', '.join(VIEWS)}"
    elif (column := _COLUMN.search(complaint)) and f'"{column[1]}"' in query:
        following = f"Text stands in single quotes: '{column[1]}'"
    elif isinstance(error, duckdb.BinderException):
        following = "DESCRIBE metrics lists a view's columns"
    else:
        following = "Correct the query; devtrack/store/schema.sql explains every view"
    return QueryError(f"{_shown(query)!r}: {complaint} {following}.")


def _shown(query: str) -> str:
    shown = " ".join(query.split())
    return shown if len(shown) <= 80 else shown[:79] + "…"
