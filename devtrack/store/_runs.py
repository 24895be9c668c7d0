"""``run.json``: what a run is, and finding one by what a user remembers of it."""

from __future__ import annotations

import difflib
import json
import warnings
from collections.abc import Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path

from devtrack.errors import ConfigError, UnknownRunError
from devtrack.records import RunInfo
from devtrack.store._atomic_files import create_exclusively, make_dirs
from devtrack.store._json_text import to_json
from devtrack.store._layout import RUN_FILE, StoreWarning, is_run_id
from devtrack.store._provenance import new_run_id

_MAX_NAMED = 8


def write_run(store: Path, info: RunInfo) -> Path:
    """Write ``run.json`` unless the run has one, and return the run's folder.

    Raises:
        ConfigError: The run id cannot be a folder's name.
        OSError: The store cannot be written.
    """
    run_dir = _run_dir(store, info)
    _create_run_file(run_dir, info)
    return run_dir


def create_run(store: Path, info: RunInfo) -> RunInfo:
    """Write ``run.json`` of a run that is new: an id that is taken is drawn again from the name.

    Two trainings that draw one id would write into each other's run.

    Returns:
        The run with the id that it got.

    Raises:
        ConfigError: The run id cannot be a folder's name.
        OSError: The store cannot be written.
    """
    while not _create_run_file(_run_dir(store, info), info):
        info = replace(info, run_id=new_run_id(info.name, info.created_utc))
    return info


def _create_run_file(run_dir: Path, info: RunInfo) -> bool:
    line = {field.name: getattr(info, field.name) for field in fields(info)}
    line["created_utc"] = _naive_utc(info.created_utc)
    return create_exclusively(run_dir / RUN_FILE, (to_json(line) + "\n").encode())


def _run_dir(store: Path, info: RunInfo) -> Path:
    if not is_run_id(info.run_id):
        raise ConfigError(
            f"run_id={info.run_id!r}: must be a folder name of letters, digits, '.', '_' and '-' "
            "that starts with a letter or digit. Pass such an id and keep the rest for name=."
        )
    run_dir = store / info.run_id
    make_dirs(run_dir)
    return run_dir


def read_run(path: Path) -> RunInfo:
    """Return what a ``run.json`` says.

    Raises:
        ValueError: It is damaged.
        OSError: It cannot be read.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
        return RunInfo(
            run_id=str(content["run_id"]),
            name=str(content["name"]),
            created_utc=datetime.fromisoformat(content["created_utc"]),
            config=dict(content.get("config") or {}),
            versions=dict(content.get("versions") or {}),
            parent_run_id=content.get("parent_run_id"),
            parent_step=content.get("parent_step"),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def list_runs(store: Path) -> list[RunInfo]:
    """Return the runs of a store by time of creation; a damaged ``run.json`` is warned about."""
    runs: list[RunInfo] = []
    for path in sorted(store.glob(f"*/{RUN_FILE}")):
        if not is_run_id(path.parent.name):
            continue
        try:
            runs.append(read_run(path))
        except (OSError, ValueError) as error:
            warnings.warn(
                f"{path}: cannot be read ({error}); its rows are still in the views, under the "
                "run id. Restore the file, or run `devtrack doctor`.",
                StoreWarning,
                stacklevel=3,
            )
    return sorted(runs, key=lambda info: (info.created_utc, info.run_id))


def find_run(runs: Sequence[RunInfo], ref: str | None, *, store: Path) -> RunInfo:
    """Return the run with this id, or the only one with this name, or the newest for None.

    Args:
        runs: By time of creation.
        ref: Run id or name.
        store: Named in the message.

    Raises:
        UnknownRunError: No run, or several, answer to ``ref``; names the nearest.
    """
    if not runs:
        raise UnknownRunError(
            f"run {ref!r}: the store {store} holds no run yet. "
            "Train with Tracker(...) on this store first, or open another store."
        )
    if ref is None:
        return runs[-1]
    by_id = [info for info in runs if info.run_id == ref]
    named = by_id or [info for info in runs if info.name == ref]
    if len(named) == 1:
        return named[0]
    if named:
        raise UnknownRunError(
            f"run {ref!r}: {len(named)} runs bear this name. "
            f"Pass one of their ids: {_listed([info.run_id for info in reversed(named)])}."
        )
    known = list(dict.fromkeys(word for info in runs for word in (info.name, info.run_id)))
    near = difflib.get_close_matches(ref, known, n=3, cutoff=0.5)
    ids = _listed([info.run_id for info in reversed(runs)])
    raise UnknownRunError(
        f"run {ref!r}: not in the store {store}, which holds {ids}. "
        + (f"Did you mean {' or '.join(map(repr, near))}?" if near else "Pass one of these ids.")
    )


def _listed(words: Sequence[str]) -> str:
    more = len(words) - _MAX_NAMED
    return ", ".join(words[:_MAX_NAMED]) + (f" and {more} more" if more > 0 else "")


def _naive_utc(time: datetime) -> datetime:
    return time if time.tzinfo is None else time.astimezone(UTC).replace(tzinfo=None)
