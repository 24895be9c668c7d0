"""A view or a query as a file for other tools."""

from __future__ import annotations

from pathlib import Path

import duckdb

from devtrack.errors import ConfigError
from devtrack.store._confinement import QueryLimits, time_limit, too_many_rows
from devtrack.store._layout import VIEWS
from devtrack.store._sql import bound_relation
from devtrack.store._statements import reading_statements

_FORMATS = {
    ".parquet": "FORMAT parquet",
    ".csv": "FORMAT csv, HEADER true",
    ".json": "FORMAT json, ARRAY true",
}


def check_export(target: Path, *, table: str | None, query: str | None) -> tuple[str, str]:
    """Return the query and DuckDB's format options for an export.

    The rows of a view come sorted: its joins leave them in an order that changes from call to call.

    Raises:
        ConfigError: Not exactly one of table and query, an unknown table or suffix.
    """
    if (table is None) == (query is None):
        raise ConfigError(
            f"export: table={table!r}, query={query!r}; exactly one of them says what to export. "
            "Pass table='metrics', or query='FROM llc WHERE …'."
        )
    if table is not None and table not in VIEWS:
        raise ConfigError(
            f"export: table={table!r}; the store has {', '.join(VIEWS)}. Pass one of these."
        )
    if target.suffix not in _FORMATS:
        raise ConfigError(
            f"export: {target.name!r} ends in {target.suffix!r}; known are {', '.join(_FORMATS)}. "
            "Rename the target."
        )
    if not target.parent.is_dir():
        raise ConfigError(
            f"export: the folder {target.parent} does not exist; an export makes one file, no "
            "folders. Create it first."
        )
    return query or f"FROM {table} ORDER BY ALL", _FORMATS[target.suffix]


def export_query(
    connection: duckdb.DuckDBPyConnection,
    query: str,
    *,
    options: str,
    to: Path,
    limits: QueryLimits,
) -> None:
    """Write a query's rows to a temporary file.

    The query is never a part of the statement that writes: DuckDB binds it first, by itself.

    Args:
        connection: From ``reader_connection``, with ``to`` as its target.
        query: One or several statements; the last one's rows are written.
        options: From ``check_export``.
        to: The file.
        limits: The rows are counted in the file.

    Raises:
        QueryError: A statement may write, or the query reached a limit.
        duckdb.Error: As DuckDB has it.
    """
    statements = reading_statements(connection, query)
    quoted = str(to).replace("'", "''")
    copy = f"COPY exported TO '{quoted}' ({options}, USE_TMP_FILE false)"
    with time_limit(connection, query, limits):
        connection.register("exported", bound_relation(connection, statements, None, limits))
        ((count, *_),) = connection.execute(copy).fetchall()
    if count > limits.max_rows:
        raise too_many_rows(query, limits)
