"""``devtrack export``: rows of a store as a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from devtrack.cli import _options as options


def export(
    target: Annotated[str, typer.Argument(help="File to write: .parquet, .csv or .json.")],
    table: Annotated[str | None, typer.Option("--table", help="View to export.")] = None,
    query: Annotated[str | None, typer.Option("--query", help="Or a SELECT to export.")] = None,
    store: options.StoreFolder = "runs",
    timeout_s: options.TimeoutS = None,
    max_rows: options.MaxRows = None,
) -> None:
    """Write a view or a query's rows to a file.

    If neither is named, the view that the file is called after, else the metrics. The file is
    written whole or not at all; prints its path.
    """
    from devtrack.store import open_store
    from devtrack.store._layout import VIEWS

    if table is None and query is None:
        table = name if (name := Path(target).stem) in VIEWS else "metrics"
    written = open_store(store).export(
        target, table=table, query=query, timeout_s=timeout_s, max_rows=max_rows
    )
    typer.echo(written)
