"""Rows of the store to dated transitions with evidence, and back into the store as rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from devtrack.series import Move, Transition
from devtrack.store import Store
from devtrack.store._provenance import utc_now
from devtrack.store.readers import (
    read_analysis_settings,
    read_config_events,
    read_last_step,
    read_series,
    series_query,
)

STANDARD = {"alpha": 0.05, "axis": "auto", "metrics": None, "sites": None}
"""The settings of an analysis that was asked for nothing in particular."""


def find_transitions(
    store: Store,
    run: str | None = None,
    *,
    alpha: float = 0.05,
    axis: str = "auto",
    metrics: Sequence[str] | None = None,
    sites: Sequence[str] | None = None,
    save: bool = True,
) -> list[Transition]:
    """Find the transitions of a run and keep them in the store's table ``transitions``.

    Args:
        store: The store.
        run: Run id or name; the newest run if None.
        alpha: Share of runs without a change in which one or more may be reported.
        axis: ``"log"`` or ``"linear"`` steps; ``"auto"`` takes the one the snapshots are spaced on.
        metrics: Names or globs of the metrics to look at; all if None.
        sites: Names or globs of the sites to look at; all if None.
        save: Write the result; it replaces the run's previous analysis.

    Returns:
        The transitions by midpoint. One whose ``event`` is set is attributed to an event of the
        configuration.

    Raises:
        UnknownRunError: The store has no such run.
        ConfigError: Nothing matches, or ``alpha`` or ``axis`` cannot be.
        StoreError: The store cannot be written.
    """
    from devtrack.changepoints.offline.detector import detect  # scipy loads only when it is needed

    run_id = store.run(run).run_id
    # taken before the rows are read: what comes meanwhile must make the analysis stale
    as_of, through_step = utc_now(), read_last_step(store, run_id)
    series = read_series(store, run_id, metrics=metrics, sites=sites)
    found = detect(series, alpha=alpha, axis=axis, events=read_config_events(store, run_id))
    if save:
        rows = [
            _row(run_id, number, transition, move)
            for number, transition in enumerate(found)
            for move in transition.moves
        ]
        settings = {"alpha": alpha, "axis": axis, "metrics": metrics, "sites": sites}
        store.write_transitions(
            run_id, rows, through_step=through_step, as_of=as_of, settings=settings
        )
    return found


def is_current(store: Store, run_id: str, *, standard: bool = False) -> bool:
    """Say whether the store holds this detector's transitions of the run as it is now.

    An analysis that found nothing counts.

    Args:
        store: The store.
        run_id: The run.
        standard: Ask also whether it looked at the whole run as ``find_transitions`` does unasked;
            only then are two runs comparable.
    """
    settings = read_analysis_settings(store, run_id, fresh_only=True)
    return settings is not None and (not standard or settings == STANDARD)


def _row(run_id: str, number: int, transition: Transition, move: Move) -> Mapping[str, Any]:
    """Return the table's row of one series' part in one transition."""
    return {
        "transition": number,
        "kind": transition.kind,
        "onset": transition.onset,
        "midpoint": transition.midpoint,
        "end_step": transition.end,
        "midpoint_low": transition.midpoint_low,
        "midpoint_high": transition.midpoint_high,
        "interval_level": transition.interval_level,
        "metric": move.metric,
        "site": move.site,
        "direction": move.direction,
        "effect": move.effect,
        "effect_se": move.effect_se,
        "metric_onset": move.onset,
        "metric_midpoint": move.midpoint,
        "metric_end": move.end,
        "metric_midpoint_low": move.midpoint_low,
        "metric_midpoint_high": move.midpoint_high,
        "evidence": transition.evidence,
        "evidence_method": transition.evidence_method,
        "alpha": transition.alpha,
        "event": transition.event,
        "query": series_query(run_id, move.metric, move.site),
    }
