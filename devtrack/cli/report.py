"""``devtrack report``: one HTML file about a run."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated

import typer

from devtrack.cli import _options as options
from devtrack.cli._stale import analyse_if_stale
from devtrack.errors import ConfigError


def report(
    run: options.Run = None,
    store: options.StoreFolder = "runs",
    output: Annotated[
        Path | None,
        typer.Option("--output", "--out", help="File to write; RUN.html if left out."),
    ] = None,
    axis: Annotated[
        options.StepScale, typer.Option("--axis", help="Scale of the timeline's steps.")
    ] = options.StepScale.LOG,
) -> None:
    """Write what happened in a run into one HTML file.

    The file opens offline and needs nothing beside it. Prints its path. Transitions are those of
    the latest `devtrack transitions`; they are found anew if the run has gone on since.
    """
    from devtrack.store import open_store

    opened = open_store(store)
    info = opened.run(run)
    path = Path(f"{_file_name(info.name) or info.run_id}.html") if output is None else output
    _require_html(path)
    from devtrack.report import render_report

    analyse_if_stale(opened, info)
    page = render_report(opened, info.run_id, axis=axis.value)
    path.write_text(page, "utf-8")
    typer.echo(path)


def _file_name(name: str) -> str:
    """Return a run's name as a file's name that no system refuses.

    Example:
        >>> _file_name("../my run: <b>"), _file_name("…")
        ('my-run-b', '')
    """
    return re.sub(r"[^A-Za-z0-9_.]+", "-", name).strip("-.")[:100]


def _require_html(path: Path) -> None:
    """Refuse a path that cannot become the report, before the work is done.

    Raises:
        ConfigError: An unknown suffix, a missing folder, or one that cannot be written.
    """
    if path.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"output={str(path)!r}: must end in .html. Try --output report.html.")
    folder = path.absolute().parent
    if not folder.is_dir():
        raise ConfigError(
            f"output={str(path)!r}: the folder {folder} does not exist. Create it first, or choose "
            "another."
        )
    if path.is_dir() or not os.access(folder, os.W_OK):
        raise ConfigError(
            f"output={str(path)!r}: cannot be written there; a file in a folder you may write to "
            "is needed. Choose another with --output."
        )
