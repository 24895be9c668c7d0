"""The transitions of a run's latest analysis, as its report tells them."""

from __future__ import annotations

import math
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from devtrack.store import Store


class FoundMove(NamedTuple):
    """One series' part in a transition; numbers that are not known are NaN.

    ``query`` is the SQL that reproduces the series.
    """

    metric: str
    site: str
    direction: str
    effect: float
    effect_se: float
    onset: float
    midpoint: float
    end: float
    low: float
    high: float
    query: str

    @property
    def name(self) -> str:
        """The metric, and the site unless it is the whole model."""
        return self.metric if self.site == "model" else f"{self.metric} at {self.site}"


class Found(NamedTuple):
    """One transition with the series that took part, in the order of their midpoints."""

    number: int
    kind: str
    onset: float
    midpoint: float
    end: float
    low: float
    high: float
    level: float
    evidence: float
    method: str
    alpha: float
    event: str | None
    moves: tuple[FoundMove, ...]


def read_found(store: Store, run_id: str) -> list[Found]:
    """Read the transitions of a run's latest analysis, by number; none if it has none.

    Args:
        store: The store.
        run_id: The run.
    """
    rows = store.sql(
        "SELECT transition, kind, onset, midpoint, end_step, midpoint_low, midpoint_high, "
        "interval_level, evidence, evidence_method, alpha, event, metric, site, direction, effect, "
        "effect_se, coalesce(metric_onset, onset), coalesce(metric_midpoint, midpoint), "
        "coalesce(metric_end, end_step), metric_midpoint_low, metric_midpoint_high, query "
        "FROM transitions WHERE run_id = ? "
        "ORDER BY transition, coalesce(metric_midpoint, midpoint), metric, site",
        [run_id],
    ).fetchall()
    found = []
    for _, group in groupby(rows, key=lambda row: row[0]):
        lines = list(group)
        number, kind, *numbers, method, alpha, event = lines[0][:12]
        found.append(
            Found(
                number,
                kind or "change",
                *map(_number, numbers),
                method=method or "not recorded",
                alpha=_number(alpha),
                event=event,
                moves=tuple(_move(line[12:]) for line in lines),
            )
        )
    return found


def _move(cells: tuple[Any, ...]) -> FoundMove:
    metric, site, direction, *numbers, query = cells
    return FoundMove(metric, site, direction or "", *map(_number, numbers), query=query or "")


def _number(cell: Any) -> float:
    return math.nan if cell is None else float(cell)
