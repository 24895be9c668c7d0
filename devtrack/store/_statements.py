"""Which statements only read. DuckDB's own types of statements do not settle it."""

from __future__ import annotations

import re
from functools import cache
from itertools import pairwise

import duckdb

from devtrack.errors import QueryError

_QUERIES = ("SELECT", "FROM", "WITH", "VALUES", "PIVOT", "UNPIVOT", "DESCRIBE", "SHOW", "SUMMARIZE")
_FIRST_WORD = re.compile(
    r"(?:EXPLAIN\s*(?:ANALYZE\s*)?(?:\(\s*(?:ANALYZE|FORMAT)[^()]*\))?)?[\s(]*(\w+)", re.IGNORECASE
)
_WORD = re.compile(r'"((?:[^"]|"")*)"|([^\s"/(-]+)')
"""The token at the start of a piece of text, which may go on with a comment."""

# fmt: off
_TABLE_FUNCTIONS = frozenset(
    (
        "generate_series", "range", "repeat", "repeat_row", "unnest", "json_each", "json_tree",
        "histogram", "histogram_values", "summary", "glob", "read_blob", "read_text", "read_csv",
        "read_csv_auto", "sniff_csv", "read_parquet", "parquet_scan", "parquet_schema",
        "parquet_metadata", "parquet_file_metadata", "parquet_full_metadata",
        "parquet_kv_metadata", "parquet_bloom_probe", "read_json", "read_json_auto",
        "read_json_objects", "read_json_objects_auto", "read_ndjson", "read_ndjson_auto",
        "read_ndjson_objects", "duckdb_columns", "duckdb_databases", "duckdb_extensions",
        "duckdb_functions", "duckdb_keywords", "duckdb_memory", "duckdb_optimizers",
        "duckdb_schemas", "duckdb_settings", "duckdb_tables", "duckdb_types", "duckdb_variables",
        "duckdb_views", "pragma_show", "pragma_table_info", "pragma_version", "icu_calendar_names",
        "pg_timezone_names",
    )
)
# fmt: on
"""Table functions that read. Others write profiles and logs, or run SQL that stands in a string."""


def reading_statements(connection: duckdb.DuckDBPyConnection, query: str) -> list[str]:
    """Return the statements of a query, and refuse what does more than read.

    ``EXPLAIN ANALYZE`` runs what it explains. A ``PIVOT`` that looks for its columns first hides a
    ``COPY`` around it. From DuckDB 2 on, ``WITH a AS (COPY …)`` stands in a SELECT. A table
    function may write a file, and ``query('…')`` runs a statement that nobody has looked at.

    Raises:
        QueryError: A statement may write, or calls a table function that is not known to read.
        duckdb.Error: The query cannot be parsed.
    """
    statements = connection.extract_statements(query)
    for statement in statements:
        if not _reads(statement):
            known = ", ".join(_QUERIES)
            raise QueryError(
                f"{shown(statement.query)!r}: may write, and only what reads is run: {known} and "
                "EXPLAIN of them. For a file use `devtrack export`, Store.export or `devtrack sql "
                "--csv`; for tables and settings of your own open devtrack.duckdb in DuckDB."
            )
        called = _called(statement.query) & _refused_functions()
        if called:
            raise QueryError(
                f"{shown(statement.query)!r}: calls {', '.join(sorted(called))}(); of DuckDB's "
                "table functions only those that read are run. Ask the views; for the others open "
                "devtrack.duckdb in DuckDB."
            )
    return [_without_end(statement.query) for statement in statements]


def shown(query: str) -> str:
    """Return a query as a message shows it: in one line, not too long."""
    text = " ".join(query.split())
    return text if len(text) <= 80 else text[:79] + "…"


def _reads(statement: duckdb.Statement) -> bool:
    try:
        kind = statement.type
    except ValueError:  # DuckDB's Python client does not know all of DuckDB's statements
        return False
    if any(
        kind == duckdb.token_type.keyword and word == "copy"
        for word, kind in _tokens(statement.query)
    ):
        return False
    if kind == duckdb.StatementType.SELECT:
        return True
    first = _FIRST_WORD.match(statement.query)
    explains_or_pivots = (duckdb.StatementType.EXPLAIN, duckdb.StatementType.MULTI)
    return kind in explains_or_pivots and first is not None and first[1].upper() in _QUERIES


def _called(query: str) -> set[str]:
    """Return the names that stand before a parenthesis, in lower case."""
    tokens = _tokens(query)
    pairs = pairwise(tokens)
    return {word for (word, _), (following, _) in pairs if following.startswith("(")}


@cache
def _refused_functions() -> frozenset[str]:
    with duckdb.connect(":memory:", config={"threads": 1}) as connection:
        rows = connection.execute(
            "SELECT DISTINCT lower(function_name) FROM duckdb_functions() "
            "WHERE function_type IN ('table', 'table_macro')"
        ).fetchall()
    return frozenset(name for (name,) in rows) - _TABLE_FUNCTIONS


def _without_end(query: str) -> str:
    """Cut semicolons and comments at the end: DuckDB 2 makes a relation a part of other SQL."""
    encoded = query.encode()
    end = len(encoded)
    for start, kind in reversed(duckdb.tokenize(query)):
        if kind != duckdb.token_type.comment and not encoded[start:].startswith(b";"):
            break
        end = start
    return encoded[:end].decode()


def _tokens(query: str) -> list[tuple[str, duckdb.token_type]]:
    """Return the words of a query without comments, in lower case and without quotes.

    DuckDB 1 counts a comment to the token before it; DuckDB 2 makes it a token.
    """
    encoded = query.encode()  # DuckDB counts bytes
    tokens = duckdb.tokenize(query)
    ends = [start for start, _ in tokens[1:]] + [len(encoded)]
    found = []
    for (start, kind), end in zip(tokens, ends):
        if kind == duckdb.token_type.comment:
            continue
        piece = encoded[start:end].decode().strip()
        match = _WORD.match(piece)
        quoted, plain = match.groups() if match else (None, piece)
        word = plain if quoted is None else quoted.replace('""', '"')
        found.append(((word or piece).lower(), kind))
    return found
