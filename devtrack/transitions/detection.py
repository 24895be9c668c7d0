"""Rows of the store to dated transitions with evidence, and back into the store as rows."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from devtrack.errors import ConfigError, DataError
from devtrack.records import CONFIG_EVENT_KINDS
from devtrack.series import ConfigEvent, Move, Series, Transition
from devtrack.store import Store, StoreWarning
from devtrack.store.provenance import utc_now

STANDARD = {"alpha": 0.05, "axis": "auto", "metrics": None, "sites": None}
"""The settings of an analysis that was asked for nothing in particular."""


def load_series(
    store: Store,
    run: str | None = None,
    *,
    metrics: Sequence[str] | None = None,
    sites: Sequence[str] | None = None,
) -> list[Series]:
    """Read a run's metrics as series, one per metric and site.

    Only rows of status ok are read: a number that is suspect or failed is never averaged in. A
    series that cannot be one, such as of negative standard errors, is left out with a
    ``StoreWarning``: one metric's mistake must not keep the others from being looked at.

    Args:
        store: The store.
        run: Run id or name; the newest run if None.
        metrics: Names or globs such as ``"probe/*"``; all if None.
        sites: Names or globs of sites; all if None.

    Raises:
        UnknownRunError: The store has no such run.
        ConfigError: Nothing in the run matches ``metrics`` and ``sites``.
    """
    run_id = store.run(run).run_id
    rows = store.sql(
        "SELECT DISTINCT metric, site FROM metrics "
        "WHERE run_id = ? AND status = 'ok' ORDER BY metric, site",
        [run_id],
    ).fetchall()
    wanted = [(m, s) for m, s in rows if matches(m, metrics) and matches(s, sites)]
    if rows and not wanted:
        raise ConfigError(
            f"metrics={_shown(metrics)}, sites={_shown(sites)}: nothing in run {run_id!r} matches. "
            f"Its metrics are {', '.join(sorted({m for m, _ in rows}))}. "
            "Pass names or globs of these."
        )
    series = (_read(store, run_id, metric, site) for metric, site in wanted)
    return [one for one in series if one is not None]


def load_events(store: Store, run: str | None = None) -> list[ConfigEvent]:
    """Read the changes of the recipe that the tracker recorded.

    Args:
        store: The store.
        run: Run id or name; the newest run if None.
    """
    rows = store.sql(
        "SELECT DISTINCT step, kind, coalesce(TRY_CAST(attrs->>'momentum' AS DOUBLE), 0.0) "
        "FROM events WHERE run_id = ? ORDER BY ALL",
        [store.run(run).run_id],
    ).fetchall()
    return [
        ConfigEvent(float(step), *rest) for step, *rest in rows if rest[0] in CONFIG_EVENT_KINDS
    ]


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
        The transitions by midpoint. One whose ``event`` is set is a mark of the recipe.

    Raises:
        UnknownRunError: The store has no such run.
        ConfigError: Nothing matches, or ``alpha`` or ``axis`` cannot be.
        StoreError: The store cannot be written.
    """
    from devtrack.changepoints.offline.detector import detect  # scipy loads only when it is needed

    run_id = store.run(run).run_id
    # taken before the rows are read: what comes meanwhile must make the analysis stale
    as_of, through_step = utc_now(), _last_step(store, run_id)
    series = load_series(store, run_id, metrics=metrics, sites=sites)
    found = detect(series, alpha=alpha, axis=axis, events=load_events(store, run_id))
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
    rows = store.sql(
        "SELECT settings FROM segment.analysis_lines "
        "WHERE run_id = ? AND transition IS NULL AND NOT stale",
        [run_id],
    ).fetchall()
    return bool(rows) and (not standard or json.loads(rows[0][0] or "{}") == STANDARD)


def series_query(run_id: str, metric: str, site: str) -> str:
    """Return the SQL that reproduces one series.

    Example:
        >>> print(series_query("r1", "llc", "model"))
        SELECT step, value, se FROM metrics WHERE run_id = 'r1' AND metric = 'llc' \
AND site = 'model' AND status = 'ok' ORDER BY step
    """
    where = " AND ".join(
        f"{name} = '{text.replace(chr(39), 2 * chr(39))}'"
        for name, text in (("run_id", run_id), ("metric", metric), ("site", site))
    )
    return f"SELECT step, value, se FROM metrics WHERE {where} AND status = 'ok' ORDER BY step"


def _last_step(store: Store, run_id: str) -> int | None:
    query = "SELECT max(step) FROM metrics WHERE run_id = ?"
    return store.sql(query, [run_id]).fetchall()[0][0]


def _read(store: Store, run_id: str, metric: str, site: str) -> Series | None:
    columns = store.sql(series_query(run_id, metric, site)).fetchnumpy()
    step = np.asarray(columns["step"], np.int64)
    value, se = (np.ma.filled(np.ma.asarray(columns[c], float), np.nan) for c in ("value", "se"))
    try:
        return Series(metric, site, step, value, se)
    except DataError as error:
        warnings.warn(f"{error} Its series is left out.", StoreWarning, stacklevel=4)
        return None


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


def matches(name: str, patterns: Sequence[str] | None) -> bool:
    """Say whether a name is one of ``patterns``, or matches one; None matches all."""
    return patterns is None or any(fnmatchcase(name, p) for p in patterns)


def _shown(patterns: Sequence[str] | None) -> str:
    return "all" if patterns is None else repr(list(patterns))
