"""``devtrack sql``: a question to a store."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from devtrack.cli import _options as options
from devtrack.cli._output import not_found, print_table, require_one_format


def sql(
    context: typer.Context,
    query: Annotated[
        str | None, typer.Argument(help="SQL for DuckDB; read from stdin if left out.")
    ] = None,
    store: options.StoreFolder = "runs",
    as_json: options.Json = False,
    as_csv: options.Csv = False,
    timeout_s: options.TimeoutS = None,
    max_rows: options.MaxRows = None,
) -> None:
    """Ask a store in SQL, also while training runs.

    Views: runs, metrics, metrics_latest, metrics_all, llc, probes, chains, snapshots, events,
    transitions. Only statements that read are run, on files of the store alone; `--csv > FILE`,
    or `devtrack export`, writes a file.
    """
    require_one_format(as_json=as_json, as_csv=as_csv)
    if context.args:
        said = f"{1 + len(context.args)} words"
        raise typer.BadParameter(f'{said}: put the query in quotes, as "FROM llc".')
    query = _from_stdin() if query is None else query
    if not query.strip():
        raise typer.BadParameter("an empty query: pass SQL such as 'FROM runs'.")
    from devtrack.store import open_store

    relation = open_store(store).sql(query, timeout_s=timeout_s, max_rows=max_rows)
    nested = frozenset(
        name for name, kind in zip(relation.columns, relation.types) if str(kind) == "JSON"
    )
    if not print_table(
        relation.columns,
        relation.fetchall(),
        as_json=as_json,
        as_csv=as_csv,
        json_columns=nested,
    ):
        raise not_found("no rows")


def _from_stdin() -> str:
    if sys.stdin.isatty():
        raise typer.BadParameter("no query: pass it as an argument, or pipe it in.")
    return sys.stdin.read()
