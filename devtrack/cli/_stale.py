"""Transitions that no longer fit their run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from devtrack.cli._output import log

if TYPE_CHECKING:
    from devtrack.records import RunInfo
    from devtrack.series import Transition
    from devtrack.store import Store


def analyse_if_stale(store: Store, info: RunInfo) -> list[Transition] | None:
    """Find a run's transitions anew unless the store holds those of the run as it is now.

    Returns:
        The transitions; None if the store's own are up to date.
    """
    from devtrack.transitions.detection import find_transitions, is_current

    if is_current(store, info.run_id):
        return None
    log(f"looking for transitions in run {info.name!r}")
    return find_transitions(store, info.run_id)
