"""SQL in, rows out; DuckDB's complaint in one line that says what to do next."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb

from devtrack.errors import QueryError
from devtrack.store.layout import VIEWS
from devtrack.store.schema import pattern_of

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


def run_query(
    connection: duckdb.DuckDBPyConnection,
    query: str,
    params: Sequence[Any] | Mapping[str, Any] | None,
) -> duckdb.DuckDBPyRelation:
    """Run a query once and return its rows as a relation.

    The rows are in memory, so later compaction or a closed store cannot touch them. A statement
    without a result gives a relation without rows.

    Raises:
        duckdb.Error: As DuckDB has it.
    """
    relation = connection.sql(query, params=params)
    if relation is None and not connection.extract_statements(query):
        raise duckdb.ParserException("the query says nothing")
    if relation is None:
        return connection.sql("SELECT 0 AS rows WHERE false")
    if duckdb.__version__.startswith("1."):
        relation.execute()  # pyright: ignore[reportCallIssue]  (gone in DuckDB 2)
        return relation
    return relation.materialize()


def may_be_damage(error: duckdb.Error, store: Path) -> bool:
    """Say whether a file of the store may be to blame rather than the SQL.

    DuckDB has no error class for a damaged Parquet file: it may be an IO error, invalid input that
    speaks of a Parquet file, an internal error, or a bare ``duckdb.Error`` from the footer's parser
    that names no file. Of 403 errors after random damage to a segment all but one were of these.
    """
    if isinstance(error, duckdb.IOException):
        names = (str(store), pattern_of(store))
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
    shown = " ".join(query.split())
    if len(shown) > 80:
        shown = shown[:79] + "…"
    if isinstance(error, duckdb.CatalogException):
        following = f"Views: {', '.join(VIEWS)}"
    elif isinstance(error, duckdb.BinderException):
        following = "DESCRIBE metrics lists a view's columns"
    else:
        following = "Correct the query; devtrack/schema.sql explains every view"
    return QueryError(f"{shown!r}: {complaint} {following}.")
