"""``devtrack export``, ``compact`` and ``doctor``: data out, and a store in good order."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from devtrack.cli import _options as options
from devtrack.cli._output import EXIT_ERROR, emit, nothing, require_one_format, say
from devtrack.errors import DevtrackError

_PACKAGES = ("devtrack", "torch", "lightning", "devinterp", "duckdb", "numpy", "matplotlib")


def export(
    target: Annotated[str, typer.Argument(help="File to write: .parquet, .csv or .json.")],
    table: Annotated[str | None, typer.Option("--table", help="View to export.")] = None,
    query: Annotated[str | None, typer.Option("--query", help="Or a SELECT to export.")] = None,
    store: options.Store = "runs",
) -> None:
    """Write a view or a query's rows to a file.

    If neither is named, the view that the file is called after, else the metrics. The file is
    written whole or not at all; prints its path.
    """
    from devtrack.store import open_store
    from devtrack.store._layout import VIEWS

    if table is None and query is None:
        table = name if (name := Path(target).stem) in VIEWS else "metrics"
    typer.echo(open_store(store).export(target, table=table, query=query))


def compact(store: options.Store = "runs", run: options.OneRun = None) -> None:
    """Merge the many small files of a run into few.

    Changes no data, and may be done while training runs. All runs if none is named.
    """
    from devtrack.store import open_store

    done = open_store(store).compact(run)
    if not done:
        raise nothing(f"no runs in the store {store!r}. Nothing to compact.")
    emit(
        ("run_id", "segments_before", "segments_after"),
        [(run_id, one.segments_before, one.segments_after) for run_id, one in done.items()],
    )


def doctor(
    store: Annotated[
        str | None,
        typer.Option("--store", envvar="DEVTRACK_STORE", help="Folder of the store; runs if any."),
    ] = None,
    as_json: options.Json = False,
    as_csv: options.Csv = False,
) -> None:
    """Print versions and whatever is wrong with a store.

    Exits with 1 if something is missing or damaged. Mends nothing.
    """
    require_one_format(as_json=as_json, as_csv=as_csv)
    lines = [*_versions(), *_findings(store)]
    emit(("severity", "what", "next"), lines, as_json=as_json, as_csv=as_csv)
    errors = sum(severity == "error" for severity, _, _ in lines)
    if errors:
        say(f"{errors} error{'s' if errors > 1 else ''} found")
        raise typer.Exit(EXIT_ERROR)


def _versions() -> Iterator[tuple[str, str, str]]:
    from importlib.metadata import PackageNotFoundError, version

    yield "ok", f"python {sys.version.split()[0]}", ""
    for name in _PACKAGES:
        try:
            yield "ok", f"{name} {version(name)}", ""
        except PackageNotFoundError:
            yield "error", f"{name} is not installed", "pip install devtrack"


def _findings(given: str | None) -> Iterator[tuple[str, str, str]]:
    from devtrack.store import open_store

    try:
        opened = open_store(given or "runs", renew=False)
    except DevtrackError as error:
        severity = "error" if given else "note"  # nobody said that there must be one here
        yield severity, str(error), "pass the store's folder with --store"
        return
    findings = opened.check()
    yield from findings
    if not findings:
        yield "ok", f"store {opened.path}: {len(opened.runs())} runs, nothing wrong", ""
