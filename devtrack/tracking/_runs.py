"""Which run a training writes: a new one, one that goes on from a checkpoint, or a child of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from devtrack.errors import UnknownRunError
from devtrack.records import Event, RunInfo
from devtrack.store import Store
from devtrack.store._provenance import new_run_id, utc_now, versions


def run_to_continue(store: Store, run_id: str, *, name: str | None) -> RunInfo | None:
    """Return the run that a checkpoint was made in, if a training from there goes on with it.

    Args:
        store: Where it would be.
        run_id: What the checkpoint says.
        name: What the user calls the training; under another name it is a run of its own.
    """
    try:
        info = store.run(run_id)
    except UnknownRunError:
        return None
    return info if name in (None, info.name) else None


def new_run(
    name: str, config: Mapping[str, Any], *, parent: str | None = None, step: int | None = None
) -> RunInfo:
    """Return a run that begins now; ``parent`` is the run whose checkpoint of ``step`` it is from.

    Example:
        >>> new_run("my run", {}, parent="base-1", step=100).parent_step
        100
    """
    now = utc_now()
    return RunInfo(
        run_id=new_run_id(name, now),
        name=name,
        created_utc=now,
        config=config,
        versions=versions(),
        parent_run_id=parent,
        parent_step=None if parent is None else step,
    )


def resumed(step: int, *, attempt: int, seen: int | None, config: Mapping[str, Any]) -> Event:
    """Return the event that a run goes on at ``step``, with what this attempt is made with.

    Args:
        step: The checkpoint's.
        attempt: Number of the attempt that goes on.
        seen: The last step that the run had shown; steps after ``step`` are shown no more.
        config: The tracker's configuration now: ``run.json`` holds the first attempt's.
    """
    gone = seen is not None and seen > step
    aside = f"; what was recorded after it, up to step {seen}, is in metrics_all" if gone else ""
    attrs = {"attempt": attempt, "seen": seen, "config": config, "versions": versions()}
    return Event("resume", f"resumed at step {step}{aside}", attrs)
