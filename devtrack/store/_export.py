"""A view or a query as a file for other tools."""

from __future__ import annotations

from pathlib import Path

import duckdb

from devtrack.errors import ConfigError
from devtrack.store._atomic_files import publish, remove_quietly, temporary_name
from devtrack.store._layout import VIEWS

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
    connection: duckdb.DuckDBPyConnection, query: str, *, options: str, target: Path
) -> None:
    """Write a query's rows to a file, whole or not at all.

    Raises:
        duckdb.Error: As DuckDB has it.
        OSError: The target cannot be written.
    """
    temporary = temporary_name(target)
    quoted = str(temporary).replace("'", "''")
    try:
        connection.execute(f"COPY ({query.strip().rstrip(';')}) TO '{quoted}' ({options})")
        publish(temporary, target)
    except BaseException:
        remove_quietly(temporary)
        raise
