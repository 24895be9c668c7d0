"""SQL in, rows out; DuckDB's complaint in one line that says what to do next."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb

from devtrack.errors import QueryError
from devtrack.store._confinement import QueryLimits, time_limit, too_many_rows
from devtrack.store._layout import VIEWS
from devtrack.store._schema import glob_of
from devtrack.store._statements import reading_statements, shown

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


def run_query(
    connection: duckdb.DuckDBPyConnection,
    query: str,
    params: Sequence[Any] | Mapping[str, Any] | None,
    limits: QueryLimits,
) -> duckdb.DuckDBPyRelation:
    """Run a query once and return its rows as a relation.

    The rows are in memory, so later compaction or a closed store cannot touch them.

    Raises:
        QueryError: A statement may write, or the query reached a limit.
        duckdb.Error: As DuckDB has it.
    """
    statements = reading_statements(connection, query)
    with time_limit(connection, query, limits):
        relation = bound_relation(connection, statements, params, limits)
        if duckdb.__version__.startswith("1."):
            relation.execute()  # pyright: ignore[reportCallIssue]  (gone in DuckDB 2)
        else:
            relation = relation.materialize()
        if len(relation) > limits.max_rows:
            raise too_many_rows(query, limits)
    return relation


def bound_relation(
    connection: duckdb.DuckDBPyConnection,
    statements: Sequence[str],
    params: Sequence[Any] | Mapping[str, Any] | None,
    limits: QueryLimits,
) -> duckdb.DuckDBPyRelation:
    """Return the last statement's rows, not yet computed, one more than its limit at most.

    Raises:
        duckdb.Error: As DuckDB has it.
    """
    for statement in statements[:-1]:
        connection.execute(statement)
    relation = connection.sql(statements[-1], params=params) if statements else None
    if relation is None:
        raise duckdb.ParserException("the query says nothing")
    return relation.limit(limits.max_rows + 1)


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
    return QueryError(f"{shown(query)!r}: {complaint} {following}.")
