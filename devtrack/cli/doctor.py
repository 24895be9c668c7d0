"""``devtrack doctor``: versions, and whatever is wrong with a store."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Annotated

import typer

from devtrack.cli import _options as options
from devtrack.cli._output import EXIT_ERROR, log, print_table, require_one_format
from devtrack.errors import DevtrackError

_PACKAGES = ("devtrack", "torch", "lightning", "devinterp", "duckdb", "numpy", "matplotlib")


def doctor(
    store: Annotated[
        str | None,
        typer.Option("--store", envvar="DEVTRACK_STORE", help="Folder of the store; runs if any."),
    ] = None,
    restore: Annotated[
        bool, typer.Option("--restore", help="First put whole segments in quarantine back.")
    ] = False,
    as_json: options.Json = False,
    as_csv: options.Csv = False,
) -> None:
    """Print versions and whatever is wrong with a store.

    Exits with 1 if something is missing or damaged. Without `--restore` it changes nothing.
    """
    require_one_format(as_json=as_json, as_csv=as_csv)
    if restore:
        _restore(store)
    lines = [*_versions(), *_findings(store)]
    print_table(("severity", "what", "next"), lines, as_json=as_json, as_csv=as_csv)
    errors = sum(severity == "error" for severity, _, _ in lines)
    if errors:
        log(f"{errors} error{'s' if errors > 1 else ''} found")
        raise typer.Exit(EXIT_ERROR)


def _restore(given: str | None) -> None:
    from devtrack.store import open_store

    done = open_store(given or "runs", renew=False).restore()
    for path in done.restored:
        log(f"{path}: put back; its rows are in the views again")
    for path, reason in done.kept:
        log(f"{path}: stays in quarantine ({reason})")


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
