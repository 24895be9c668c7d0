"""Which series of a run the detector can judge, and why it cannot judge the others.

Where no transition was found, this is the difference between "nothing happened" and "nobody knows".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from devtrack.series import Series
from devtrack.store.quality import PointCount, read_point_counts
from devtrack.store.readers import matches, read_analysis_settings

if TYPE_CHECKING:
    from devtrack.changepoints._step_scale import Axis
    from devtrack.store import Store

_MOST_NAMED = 5
_TOO_FEW = "fewer than 10 ok points"  # MIN_POINTS of changepoints.curve


class Coverage(NamedTuple):
    """What a search for transitions can tell of a run.

    Args:
        evaluated: Series that were evaluated, by ``metric@site``, ``metric`` where that is the
            model.
        excluded: Series that were not, with what there is of them, by the reason.
        num_flagged: Suspect and failed points of those that were not.
    """

    evaluated: tuple[str, ...]
    excluded: dict[str, tuple[str, ...]]
    num_flagged: int = 0

    @property
    def advice(self) -> str:
        """What to do next where nothing could be evaluated."""
        if self.num_flagged:
            return "Why points are suspect or failed: devtrack report."
        if not self.excluded or _TOO_FEW in self.excluded:
            return "Wait for more observations, or observe more often: Tracker(schedule=...)."
        return "Look at its timeline: devtrack timeline."

    @property
    def reasons_text(self) -> str:
        """The reasons with the series that each keeps out; empty if all were evaluated.

        Example:
            >>> Coverage(("loss",), {"constant": ("accuracy", "epoch")}).reasons_text
            'constant: accuracy, epoch'
        """
        return "; ".join(
            f"{reasons_text}: {_listed(names)}" for reasons_text, names in self.excluded.items()
        )

    def __str__(self) -> str:
        """Say how many series were evaluated, and why the others were not.

        Example:
            >>> str(Coverage(("a", "b"), {})), str(Coverage(("a",), {"constant": ("b",)}))
            ('2 series evaluated', '1 of 2 series evaluated; constant: b')
            >>> str(Coverage((), {"constant": ("b",)}))
            'no series could be evaluated; constant: b'
        """
        count = len(self.evaluated)
        total = count + sum(map(len, self.excluded.values()))
        if not count:
            return (
                f"no series could be evaluated; {self.reasons_text or 'there are no numbers yet'}"
            )
        of_all = f" of {total}" if total > count else ""
        return f"{count}{of_all} series evaluated" + (f"; {self.reasons_text}" if of_all else "")


def read_coverage(
    store: Store,
    run: str | None = None,
    *,
    axis: str = "auto",
    metrics: Sequence[str] | None = None,
    sites: Sequence[str] | None = None,
) -> Coverage:
    """Say which series ``find_transitions`` judges when it is given the same arguments.

    Learning rates are configuration, not evidence: they are named only where there is nothing
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
    from devtrack.changepoints._event_regressors import is_config_series
    from devtrack.changepoints._step_scale import choose_axis

    rows = read_point_counts(store, store.run(run).run_id)
    rows = [one for one in rows if matches(one.metric, metrics) and matches(one.site, sites)]
    bare = [Series(one.metric, one.site, np.empty(0, np.int64), np.empty(0)) for one in rows]
    measured = [one for one, series in zip(rows, bare, strict=True) if not is_config_series(series)]
    if rows and not measured:
        return Coverage((), {"training configuration": tuple(_name(one) for one in rows)})
    grid = np.unique([step for one in measured if not one.has_negative_se for step in one.steps])
    line = choose_axis(grid, kind=axis) if grid.size > 1 else None
    evaluated: list[str] = []
    excluded: dict[str, list[str]] = {}
    num_flagged = 0
    for one in measured:
        if reasons_text := _exclusion_reason(one, line):
            excluded.setdefault(reasons_text, []).append(
                _counted(one) if reasons_text == _TOO_FEW else _name(one)
            )
            num_flagged += one.suspect + one.failed
        else:
            evaluated.append(_name(one))
    reasons = {reasons_text: tuple(names) for reasons_text, names in excluded.items()}
    return Coverage(tuple(evaluated), reasons, num_flagged)


def read_last_coverage(store: Store, run_id: str) -> Coverage | None:
    """Say which series a run's latest analysis evaluated; None if there is no analysis.

    Args:
        store: The store.
        run_id: The run.
    """
    asked = read_analysis_settings(store, run_id)
    if asked is None:
        return None
    known = {name: asked[name] for name in ("axis", "metrics", "sites") if asked.get(name)}
    return read_coverage(store, run_id, **known)


def _name(one: PointCount) -> str:
    return one.metric if one.site == "model" else f"{one.metric}@{one.site}"


def _counted(one: PointCount) -> str:
    counts = {"ok": len(one.steps), "suspect": one.suspect, "failed": one.failed}
    has = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    return f"{_name(one)} ({has})"


def _exclusion_reason(one: PointCount, line: Axis | None) -> str:
    """Return why a series is not evaluated; empty if it is."""
    from devtrack.changepoints._preprocessing import MIN_POINTS
    from devtrack.changepoints._templates import make_template_bank, max_transition_width
    from devtrack.changepoints.config import TemplateConfig

    if one.has_negative_se:
        return "negative standard errors"
    if len(one.steps) < MIN_POINTS or line is None:
        return _TOO_FEW
    assert one.low is not None and one.high is not None  # there are points
    if one.high - one.low <= 1e-12 * max(abs(one.low), abs(one.high)):
        return "constant"
    templates = TemplateConfig()
    top = max_transition_width(line, templates)
    if make_template_bank(line.fraction(one.steps), top, templates) is None:
        return "points crowded at an end of the run"
    return ""


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
