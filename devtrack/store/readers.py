"""Read a run back: series, rows, events and transitions.

All SQL that devtrack itself asks stands in this room; ``quality.py`` reads status counts,
``estimate_readers.py`` chains and snapshots. Every
function takes a store and a run id, or a run's name where it says so. The answers are types of
``devtrack.series`` and ``devtrack.records``.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Collection, Sequence
from datetime import datetime
from fnmatch import fnmatchcase
from itertools import groupby, pairwise
from typing import Any

import numpy as np

from devtrack.errors import ConfigError, DataError
from devtrack.records import CONFIG_EVENT_KINDS, Event, Row, Status
from devtrack.series import ConfigEvent, Move, Series, Transition
from devtrack.store._layout import StoreWarning
from devtrack.store.store import Store

RUNS_QUERY = (
    "SELECT run, run_id, created_utc, attempts, last_step, metric_rows, parent_run_id FROM runs"
)
"""The runs of a store, one line each."""

_MOST_NAMED = 12


def read_table(store: Store, query: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Return the names of a query's columns, and its rows."""
    relation = store.sql(query)
    return relation.columns, relation.fetchall()


# Series


def matches(name: str, patterns: Sequence[str] | None) -> bool:
    """Say whether a name is one of ``patterns``, or matches one; None matches all."""
    return patterns is None or any(fnmatchcase(name, pattern) for pattern in patterns)


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


def read_series(
    store: Store,
    run: str | None = None,
    *,
    metrics: Sequence[str] | None = None,
    sites: Sequence[str] | None = None,
    statuses: Collection[Status] = (Status.OK,),
    all_must_match: bool = False,
) -> list[Series]:
    """Read a run's metrics as series, ordered by metric and site.

    A series that is invalid, for example through a negative standard error, is left out with a
    ``StoreWarning``.

    Args:
        store: The store.
        run: Run id or name; the newest run if None.
        metrics: Names or globs such as ``"probe/*"``; all if None.
        sites: Names or globs of sites; all if None.
        statuses: Which rows to read. A failed row has the value NaN.
        all_must_match: Whether each glob must match something; otherwise one match is enough.

    Raises:
        UnknownRunError: The store has no such run.
        ConfigError: The run has rows, and ``metrics`` or ``sites`` match none of them.
    """
    run_id = store.run(run).run_id
    columns = store.sql(
        "SELECT metric, site, step, value, se, status FROM metrics WHERE run_id = ? "
        "AND status IN (SELECT unnest(?)) ORDER BY metric, site, step",
        [run_id, [str(status) for status in statuses]],
    ).fetchnumpy()
    metric, site = columns["metric"], columns["site"]
    names = list(zip(metric.tolist(), site.tolist()))
    starts = [i for i, name in enumerate(names) if i == 0 or name != names[i - 1]]
    parts = [slice(*ends) for ends in pairwise([*starts, len(names)])]
    _require_matches(
        run_id, "metrics", metrics, [names[p.start][0] for p in parts], each=all_must_match
    )
    parts = [part for part in parts if matches(names[part.start][0], metrics)]
    _require_matches(
        run_id, "sites", sites, [names[p.start][1] for p in parts], each=all_must_match
    )
    parts = [part for part in parts if matches(names[part.start][1], sites)]
    series = [_series(*names[part.start], columns, part) for part in parts]
    return [one for one in series if one is not None]


def _require_matches(
    run_id: str, argument: str, patterns: Sequence[str] | None, names: Sequence[str], *, each: bool
) -> None:
    known = sorted(set(names))
    if not known or not patterns or (not each and any(matches(name, patterns) for name in known)):
        return
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in known):
            more = len(known) - _MOST_NAMED
            listed = ", ".join(known[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
            raise ConfigError(
                f"{argument}={pattern!r}: matches nothing in run {run_id!r}. It has {listed}. "
                "Use one of these, or a glob such as 'probe/*'."
            )


def _series(metric: str, site: str, columns: dict[str, Any], part: slice) -> Series | None:
    value, se = (
        np.ma.filled(np.ma.asarray(columns[name][part], np.float64), np.nan)
        for name in ("value", "se")
    )
    step, status = columns["step"][part], columns["status"][part]
    try:
        return Series(metric, site, np.asarray(step, np.int64), value, se, np.asarray(status, str))
    except DataError as error:
        warnings.warn(f"{error} Its series is left out.", StoreWarning, stacklevel=4)
        return None


def read_steps(store: Store, runs: Sequence[str]) -> list[int]:
    """Return the steps at which any of the runs has values, ascending."""
    rows = store.sql(
        "SELECT DISTINCT step FROM metrics WHERE run_id IN (SELECT unnest(?)) ORDER BY step",
        [list(runs)],
    ).fetchall()
    return [step for (step,) in rows]


def read_last_step(store: Store, run_id: str) -> int | None:
    """Return the last step at which a run has values; None without one."""
    return store.sql("SELECT max(step) FROM metrics WHERE run_id = ?", [run_id]).fetchall()[0][0]


def read_size(store: Store, run_id: str) -> tuple[int, datetime | None]:
    """Return the number of rows of a run, and when the last one was written, in naive UTC."""
    query = "SELECT count(*), max(ts_utc) FROM metrics WHERE run_id = ?"
    ((count, last),) = store.sql(query, [run_id]).fetchall()
    return count, last


def read_num_attempts(store: Store, run_id: str) -> int:
    """Return the number of attempts of a run."""
    rows = store.sql("SELECT attempts FROM runs WHERE run_id = ?", [run_id]).fetchall()
    return rows[0][0] if rows else 0


def read_rows(
    store: Store,
    run_id: str,
    *,
    through_step: int | None = None,
    step: int | None = None,
    metric: str | None = None,
    site: str | None = None,
    failed_attrs: Collection[str] = (),
) -> list[tuple[int, Row]]:
    """Return the rows of a run with their steps, in the order of steps.

    Args:
        store: The store.
        run_id: The run.
        through_step: The last step to read; all if None.
        step, metric, site: Read the rows of these only; all if None.
        failed_attrs: Keys of ``attrs`` to read of failed rows; other rows have empty ``attrs``.
    """
    keys = "".join(f", attrs->>'{key}'" for key in failed_attrs)
    limits = {"step <=": through_step, "step =": step, "metric =": metric, "site =": site}
    limits = {test: value for test, value in limits.items() if value is not None}
    where = "".join(f" AND {test} ?" for test in limits)
    rows = store.sql(
        f"SELECT step, metric, value, se, site, status{keys} FROM metrics "
        f"WHERE run_id = ?{where} ORDER BY step",
        [run_id, *limits.values()],
    ).fetchall()
    found = []
    for at, name, value, se, place, status, *cells in rows:
        given = {key: cell for key, cell in zip(failed_attrs, cells) if cell is not None}
        attrs = given if status == Status.FAILED else {}
        value, se = (math.nan if number is None else number for number in (value, se))
        found.append((at, Row(name, value, se, place, Status(status), attrs)))
    return found


# Events


def read_events(
    store: Store,
    run_id: str,
    *,
    through_step: int | None = None,
    without: Collection[str] = (),
) -> list[tuple[int, Event]]:
    """Read the events of a run with their steps, in the order of steps and attempts.

    Args:
        store: The store.
        run_id: The run.
        through_step: The last step to read; all if None.
        without: Kinds to leave out.
    """
    rows = store.sql(
        "SELECT step, kind, message, attrs FROM events WHERE run_id = $run "
        "AND ($last IS NULL OR step <= $last) AND kind NOT IN (SELECT unnest($without)) "
        "ORDER BY step, attempt, ts_utc, kind",
        {"run": run_id, "last": through_step, "without": ["", *without]},
    ).fetchall()
    return [
        (step, Event(kind or "event", message or "", attrs_of(attrs)))
        for step, kind, message, attrs in rows
    ]


def read_config_events(store: Store, run: str | None = None) -> list[ConfigEvent]:
    """Read the changes of the training configuration, as a detector takes them.

    Args:
        store: The store.
        run: Run id or name; the newest run if None.
    """
    events = read_events(store, store.run(run).run_id)
    return config_events(events)


def config_events(events: Sequence[tuple[int, Event]]) -> list[ConfigEvent]:
    """Return the changes of the training configuration among events, each once."""
    found = {
        ConfigEvent(float(step), event.kind, _momentum(event))
        for step, event in events
        if event.kind in CONFIG_EVENT_KINDS
    }
    return sorted(found)


def _momentum(event: Event) -> float:
    momentum = event.attrs.get("momentum", 0.0)
    return float(momentum) if isinstance(momentum, int | float) else 0.0


def has_ended(store: Store, run_id: str) -> bool:
    """Say whether the run's last attempt has closed."""
    rows = store.sql(
        "SELECT count(*) FROM events JOIN runs USING (run_id) "
        "WHERE run_id = ? AND kind = 'cost' AND attempt = attempts - 1",
        [run_id],
    ).fetchall()
    return rows[0][0] > 0


# Transitions


def transitions_query(run_id: str) -> str:
    """Return the SQL that shows the transitions of a run's latest analysis."""
    return f"FROM transitions WHERE run_id = '{run_id}'"


def read_transitions(store: Store, run_id: str) -> list[Transition]:
    """Read the transitions of a run's latest analysis, by number; none if it has none.

    Numbers that an analysis left open are NaN. A series without dates of its own has those of the
    transition.
    """
    rows = store.sql(
        "SELECT transition, kind, onset, midpoint, end_step, midpoint_low, midpoint_high, "
        "interval_level, evidence, evidence_method, alpha, event, metric, site, direction, effect, "
        "effect_se, coalesce(metric_onset, onset), coalesce(metric_midpoint, midpoint), "
        "coalesce(metric_end, end_step), metric_midpoint_low, metric_midpoint_high "
        "FROM transitions WHERE run_id = ? "
        "ORDER BY transition, coalesce(metric_midpoint, midpoint), metric, site",
        [run_id],
    ).fetchall()
    found = []
    for _, group in groupby(rows, key=lambda row: row[0]):
        lines = list(group)
        _, kind, *numbers, method, alpha, event = lines[0][:12]
        onset, midpoint, end, low, high, level, evidence = map(_number, numbers)
        found.append(
            Transition(
                kind=kind or "step",
                onset=onset,
                midpoint=midpoint,
                end=end,
                midpoint_low=low,
                midpoint_high=high,
                interval_level=level,
                evidence=evidence,
                evidence_method=method or "not recorded",
                alpha=_number(alpha),
                event=event,
                moves=tuple(_move(*line[12:]) for line in lines),
            )
        )
    return found


def _move(metric: str, site: str, direction: str | None, *numbers: float | None) -> Move:
    return Move(metric, site, direction or "", *map(_number, numbers))


def _number(cell: float | None) -> float:
    return math.nan if cell is None else float(cell)


def read_analysis_settings(
    store: Store, run_id: str, *, fresh_only: bool = False
) -> dict[str, Any] | None:
    """Return what a run's latest analysis was asked for; None without an analysis.

    Args:
        store: The store.
        run_id: The run.
        fresh_only: Ignore an analysis that is stale.
    """
    where = " AND NOT stale" if fresh_only else ""
    rows = store.sql(
        "SELECT settings FROM segment.analysis_lines "
        f"WHERE run_id = ? AND transition IS NULL{where}",
        [run_id],
    ).fetchall()
    return attrs_of(rows[0][0]) if rows else None


def attrs_of(text: str | None) -> dict[str, Any]:
    """Return the attrs that the store keeps as JSON."""
    found = json.loads(text or "{}")
    return found if isinstance(found, dict) else {}
