"""Which series of a run the detector can judge, and why it cannot judge the others.

Where no transition was found, this is the difference between "nothing happened" and "nobody knows".
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from devtrack.series import Series
from devtrack.transitions.detection import matches

if TYPE_CHECKING:
    from devtrack.changepoints._step_scale import Axis
    from devtrack.store import Store

_MOST_NAMED = 5
_TOO_FEW = "fewer than 10 ok points"  # MIN_POINTS of changepoints.curve

_QUERY = """
WITH points AS (
    SELECT metric, site, step, avg(value) AS value, min(se) AS se
    FROM metrics WHERE run_id = $run AND status = 'ok' AND isfinite(value)
    GROUP BY metric, site, step
),
curves AS (
    SELECT metric, site, list(step ORDER BY step) AS steps,
           min(value) AS low, max(value) AS high, coalesce(min(se) < 0, false) AS is_wrong
    FROM points GROUP BY metric, site
),
counts AS (
    SELECT metric, site, count(DISTINCT step) FILTER (status = 'suspect') AS suspect,
           count(DISTINCT step) FILTER (status = 'failed') AS failed
    FROM metrics WHERE run_id = $run GROUP BY metric, site
)
SELECT metric, site, coalesce(steps, []), low, high, coalesce(is_wrong, false), suspect, failed
FROM counts LEFT JOIN curves USING (metric, site) ORDER BY metric, site
"""


class Judged(NamedTuple):
    """What a search for transitions can tell of a run.

    Args:
        judged: Series that were judged, by ``metric@site``, ``metric`` where that is the model.
        left_out: Series that were not, with what there is of them, by the reason.
        num_doubted: Suspect and failed points of those that were not.
    """

    judged: tuple[str, ...]
    left_out: dict[str, tuple[str, ...]]
    num_doubted: int = 0

    @property
    def advice(self) -> str:
        """What to do next where nothing could be judged."""
        if self.num_doubted:
            return "Why points are suspect or failed: devtrack report."
        if not self.left_out or _TOO_FEW in self.left_out:
            return "Wait for more observations, or observe more often: Tracker(schedule=...)."
        return "Look at its timeline: devtrack timeline."

    @property
    def why(self) -> str:
        """The reasons with the series that each keeps out; empty if all were judged.

        Example:
            >>> Judged(("loss",), {"constant": ("accuracy", "epoch")}).why
            'constant: accuracy, epoch'
        """
        return "; ".join(f"{why}: {_listed(names)}" for why, names in self.left_out.items())

    def __str__(self) -> str:
        """Say how many series were judged, and why the others were not.

        Example:
            >>> str(Judged(("a", "b"), {})), str(Judged(("a",), {"constant": ("b",)}))
            ('2 series judged', '1 of 2 series judged; constant: b')
            >>> str(Judged((), {"constant": ("b",)}))
            'no series could be judged; constant: b'
        """
        count = len(self.judged)
        total = count + sum(map(len, self.left_out.values()))
        if not count:
            return f"no series could be judged; {self.why or 'there are no numbers yet'}"
        of_all = f" of {total}" if total > count else ""
        return f"{count}{of_all} series judged" + (f"; {self.why}" if of_all else "")


def read_judged(
    store: Store,
    run: str | None = None,
    *,
    axis: str = "auto",
    metrics: Sequence[str] | None = None,
    sites: Sequence[str] | None = None,
) -> Judged:
    """Say which series ``find_transitions`` judges when it is given the same arguments.

    Learning rates are the recipe, which is no witness: they are named only where there is nothing
    else.

    Args:
        store: The store.
        run: Run id or name; the newest run if None.
        axis: ``"log"``, ``"linear"`` or ``"auto"``.
        metrics: Names or globs of the metrics to look at; all if None.
        sites: Names or globs of the sites to look at; all if None.

    Raises:
        UnknownRunError: The store has no such run.
    """
    from devtrack.changepoints._event_regressors import is_recipe
    from devtrack.changepoints._step_scale import choose_axis

    rows = [_Points(*row) for row in store.sql(_QUERY, {"run": store.run(run).run_id}).fetchall()]
    rows = [one for one in rows if matches(one.metric, metrics) and matches(one.site, sites)]
    bare = [Series(one.metric, one.site, np.empty(0, np.int64), np.empty(0)) for one in rows]
    measured = [one for one, series in zip(rows, bare, strict=True) if not is_recipe(series)]
    if rows and not measured:
        return Judged((), {"the recipe itself": tuple(one.name for one in rows)})
    grid = np.unique([step for one in measured if not one.is_wrong for step in one.steps])
    line = choose_axis(grid, kind=axis) if grid.size > 1 else None
    judged: list[str] = []
    left_out: dict[str, list[str]] = {}
    num_doubted = 0
    for one in measured:
        if why := _hindrance(one, line):
            left_out.setdefault(why, []).append(one.text if why == _TOO_FEW else one.name)
            num_doubted += one.suspect + one.failed
        else:
            judged.append(one.name)
    reasons = {why: tuple(names) for why, names in left_out.items()}
    return Judged(tuple(judged), reasons, num_doubted)


def read_last_judged(store: Store, run_id: str) -> Judged | None:
    """Say which series a run's latest analysis judged; None if there is no analysis.

    Args:
        store: The store.
        run_id: The run.
    """
    rows = store.sql(
        "SELECT settings FROM segment.analysis_lines WHERE run_id = ? AND transition IS NULL",
        [run_id],
    ).fetchall()
    if not rows:
        return None
    asked = json.loads(rows[0][0] or "null") or {}  # null: written by hand
    known = {name: asked[name] for name in ("axis", "metrics", "sites") if asked.get(name)}
    return read_judged(store, run_id, **known)


class _Points(NamedTuple):
    """What of a series decides whether it is judged; numbers of its points that are ok."""

    metric: str
    site: str
    steps: list[int]
    low: float
    high: float
    is_wrong: bool
    suspect: int
    failed: int

    @property
    def name(self) -> str:
        return self.metric if self.site == "model" else f"{self.metric}@{self.site}"

    @property
    def text(self) -> str:
        counts = {"ok": len(self.steps), "suspect": self.suspect, "failed": self.failed}
        has = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
        return f"{self.name} ({has})"


def _hindrance(one: _Points, line: Axis | None) -> str:
    """Return why a series is not judged; empty if it is."""
    from devtrack.changepoints._preprocessing import MIN_POINTS
    from devtrack.changepoints._templates import make_bank, widest

    if one.is_wrong:
        return "negative standard errors"
    if len(one.steps) < MIN_POINTS or line is None:
        return _TOO_FEW
    if one.high - one.low <= 1e-12 * max(abs(one.low), abs(one.high)):
        return "constant"
    if make_bank(line.fraction(one.steps), widest(line)) is None:
        return "points crowded at an end of the run"
    return ""


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
