"""Everything that can be wrong with a store, for ``devtrack doctor``. Looks, changes nothing."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import duckdb

from devtrack.store._layout import (
    RUN_FILE,
    TEMP_SUFFIX,
    VIEWS_FILE,
    WRITER_TABLES,
    is_run_id,
    segment_dir,
    uncovered,
)
from devtrack.store._listing import list_segments
from devtrack.store._overflow import spill_dir, spilled_segments
from devtrack.store._quarantine import find_faults, find_quarantined
from devtrack.store._runs import read_run
from devtrack.store._views import reader_connection, views_file_is_current

Severity = Literal["error", "warning", "note"]


class Finding(NamedTuple):
    """One thing that is not as it should be.

    Args:
        severity: error: rows are missing from the views; warning: something needs care; note: only
            untidy.
        what: What is wrong, with the path.
        next: What to do about it.
    """

    severity: Severity
    what: str
    next: str


def check_store(store: Path) -> list[Finding]:
    """Return the findings, worst first."""
    findings = [
        *_damaged_segments(store),
        *_run_files(store),
        *_quarantined(store),
        *_views_file(store),
        *_spilled(store),
        *_snapshots(store),
        *_leftovers(store),
    ]
    order: tuple[Severity, ...] = ("error", "warning", "note")
    return sorted(findings, key=lambda finding: order.index(finding.severity))


def _run_dirs(store: Path) -> list[Path]:
    return sorted(path for path in store.iterdir() if path.is_dir() and is_run_id(path.name))


def _damaged_segments(store: Path) -> Iterator[Finding]:
    faults = find_faults(store)
    for path, complaint in faults.damaged:
        yield Finding(
            "error",
            f"{path}: damaged segment ({complaint})",
            "restore it from a backup; the next query moves it to quarantine",
        )
    for path, complaint in faults.unreadable:
        yield Finding(
            "error",
            f"{path}: cannot be read by this process now ({complaint}); its rows are left out",
            "check its permissions and the disk; the file itself stays where it is",
        )


def _run_files(store: Path) -> Iterator[Finding]:
    for run_dir in _run_dirs(store):
        path = run_dir / RUN_FILE
        try:
            info = read_run(path)
        except (OSError, ValueError) as error:
            yield Finding(
                "warning",
                f"{path}: unreadable ({error}); its rows appear under the run id",
                "restore the file from a backup, or remove the folder if it is no run",
            )
        else:
            if info.run_id != run_dir.name:
                yield Finding(
                    "warning",
                    f"{path}: says run_id {info.run_id!r}, which is not its folder's name",
                    "give the folder its old name back",
                )


def _quarantined(store: Path) -> Iterator[Finding]:
    paths, faults = find_quarantined(store)
    reasons = dict([*faults.damaged, *faults.unreadable])
    for path in paths:
        state = f"({reasons[path]})" if path in reasons else "though it is whole"
        yield Finding(
            "error",
            f"{path}: quarantined {state}; its rows are missing from every view",
            "put an undamaged copy back into segments/, then remove this one"
            if path in reasons
            else "`devtrack doctor --restore` puts it back",
        )


def _views_file(store: Path) -> Iterator[Finding]:
    if not views_file_is_current(store):
        yield Finding(
            "warning",
            f"{store / VIEWS_FILE}: missing, damaged, or made for another path or version",
            "open the store once where it is writable: open_store() renews the file",
        )


def _spilled(store: Path) -> Iterator[Finding]:
    for run_dir in _run_dirs(store):
        folder = spill_dir(Path(tempfile.gettempdir()), run_dir)
        count = len(spilled_segments(folder))
        if count:
            yield Finding(
                "error",
                f"{folder}: {count} segments of this store wait here",
                f"if its training has ended: open_store({str(store)!r}).adopt({str(folder)!r})",
            )


def _snapshots(store: Path) -> Iterator[Finding]:
    try:
        with reader_connection(store) as connection:
            rows = connection.execute(
                "SELECT DISTINCT run_id, path FROM segment.rows_of('snapshots') ORDER BY ALL"
            ).fetchall()
    except duckdb.Error:
        return  # a damaged segment, which is a finding of its own
    for run_id, path in rows:
        if not (store / run_id / path).is_file():
            yield Finding(
                "warning",
                f"{store / run_id / path}: a snapshot that the store lists is not there",
                "restore it; metrics of its step cannot be computed again without it",
            )


def _leftovers(store: Path) -> Iterator[Finding]:
    for path in sorted(store.rglob(f"*{TEMP_SUFFIX}")):
        yield Finding(
            "note",
            f"{path}: unfinished file of a process that was killed, or is just writing",
            "remove it when no training is running",
        )
    for run_dir in _run_dirs(store):
        for table in WRITER_TABLES:
            names = list(list_segments(segment_dir(run_dir, table)))
            covered = len(names) - len(uncovered(names))
            if covered:
                yield Finding(
                    "note",
                    f"{segment_dir(run_dir, table)}: {covered} segments that a wider one covers",
                    "devtrack compact removes them",
                )
