"""What the plots draw, read from a store once: curves, bands and events.

The drawing functions know these tuples only, so that they can be tried on plain arrays.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from devtrack.errors import ConfigError

if TYPE_CHECKING:
    from devtrack.store import Store


class Curve(NamedTuple):
    """One metric at one site along a run.

    Shapes:
        step, value, se, status: (point,), ordered by step. ``se`` is NaN where it is unknown,
        ``value`` where the status is failed.
    """

    metric: str
    site: str
    step: npt.NDArray[np.int64]
    value: npt.NDArray[np.float64]
    se: npt.NDArray[np.float64]
    status: npt.NDArray[np.str_]


class Band(NamedTuple):
    """One transition as it is drawn, all in steps.

    ``moved`` maps (metric, site) of each series that took part to the (onset, end) of its own
    change. A transition with an ``event`` coincides with a change of the recipe: it is shown, but
    it does not divide stages. ``kind`` is the transition's: a ``"turn"`` is drawn as one.
    """

    onset: float
    midpoint: float
    end: float
    midpoint_low: float
    midpoint_high: float
    interval_level: float
    alpha: float
    moved: Mapping[tuple[str, str], tuple[float, float]]
    event: str | None = None
    kind: str = "step"


class Mark(NamedTuple):
    """An event of the recipe: a learning-rate change, a resume."""

    step: float
    kind: str


def read_curves(
    store: Store,
    run_id: str,
    *,
    metrics: Sequence[str] | None = None,
    sites: Sequence[str] | None = None,
) -> list[Curve]:
    """Read the curves of a run, ordered by metric and site.

    Args:
        store: The store to read.
        run_id: The run.
        metrics: Names or globs (``"probe/*"``); all if None.
        sites: Names or globs; all if None.

    Raises:
        ConfigError: The run has no metrics, or a glob matches none of them.
    """
    rows = store.sql(
        "SELECT metric, site, step, value, se, status FROM metrics "
        "WHERE run_id = ? ORDER BY metric, site, step",
        [run_id],
    ).fetchall()
    if not rows:
        raise ConfigError(
            f"run {run_id!r}: has no metrics yet. A run has metrics after its first observation. "
            "Wait for it, or pick a run that `devtrack runs` lists with observations."
        )
    curves = [_curve(key, list(group)) for key, group in groupby(rows, key=lambda row: row[:2])]
    curves = _matching(curves, "metrics", metrics, lambda curve: curve.metric)
    return _matching(curves, "sites", sites, lambda curve: curve.site)


def _curve(key: tuple[str, str], rows: list[tuple]) -> Curve:
    _, _, step, value, se, status = zip(*rows, strict=True)
    return Curve(
        *key,
        step=np.array(step, dtype=np.int64),
        value=np.array([np.nan if v is None else v for v in value], dtype=float),
        se=np.array([np.nan if v is None else v for v in se], dtype=float),
        status=np.array(status, dtype=str),
    )


def _matching(
    curves: list[Curve], argument: str, globs: Sequence[str] | None, name: Any
) -> list[Curve]:
    if globs is None:
        return curves
    known = sorted({name(curve) for curve in curves})
    for glob in globs:
        if not any(fnmatchcase(one, glob) for one in known):
            raise ConfigError(
                f"{argument}={glob!r}: matches nothing in this run. "
                f"It has {_listed(known)}. Use one of these, or a glob such as 'probe/*'."
            )
    return [curve for curve in curves if any(fnmatchcase(name(curve), glob) for glob in globs)]


def _listed(names: Sequence[str], *, most: int = 12) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def read_bands(store: Store, run_id: str) -> list[Band]:
    """Read the transitions of the run's latest analysis; none if it was never analysed."""
    rows = store.sql(
        "SELECT transition, onset, midpoint, end_step, midpoint_low, midpoint_high, "
        "interval_level, alpha, metric, site, metric_onset, metric_end, event, kind "
        "FROM transitions "
        "WHERE run_id = ? ORDER BY transition",
        [run_id],
    ).fetchall()
    bands = []
    for _, group in groupby(rows, key=lambda row: row[0]):
        lines = list(group)
        numbers = [np.nan if number is None else float(number) for number in lines[0][1:8]]
        whole = (numbers[0], numbers[2])
        moved = {
            (metric, site): whole if onset is None or end is None else (onset, end)
            for *_, metric, site, onset, end, _, _ in lines
        }
        event, kind = lines[0][-2:]
        bands.append(Band(*numbers, moved=moved, event=event, kind=kind or "step"))
    return bands


def as_bands(transitions: Iterable[Any]) -> list[Band]:
    """Return the bands of ``changepoints.Transition`` objects."""
    return [
        Band(
            one.onset,
            one.midpoint,
            one.end,
            one.midpoint_low,
            one.midpoint_high,
            one.interval_level,
            one.alpha,
            {(move.metric, move.site): (move.onset, move.end) for move in one.moves},
            one.event,
            one.kind,
        )
        for one in transitions
    ]


def read_marks(store: Store, run_id: str) -> list[Mark]:
    """Read what happened to a run; not the tracker's own book-keeping."""
    rows = store.sql(
        "SELECT DISTINCT step, kind FROM events "
        "WHERE run_id = ? AND kind NOT IN ('cost', 'snapshot_failed') ORDER BY step, kind",
        [run_id],
    )
    return [Mark(float(step), kind) for step, kind in rows.fetchall()]
