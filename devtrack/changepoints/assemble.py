"""A run as the search sees it: clean curves, one linear model each, one bank of templates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from devtrack.changepoints.axis import Axis, choose_axis
from devtrack.changepoints.curve import MIN_POINTS, Curve, make_curve
from devtrack.changepoints.joint import Windows
from devtrack.changepoints.recipe import RECIPE_SD, is_recipe, recipe_columns
from devtrack.changepoints.scan import FREE, Scanner
from devtrack.changepoints.search import Search
from devtrack.changepoints.series import RecipeEvent, Series
from devtrack.changepoints.templates import Bank, columns, make_bank
from devtrack.changepoints.trend import level_columns, trend_columns

PRIOR_POINTS = 3.0  # belief in reported standard errors, in points ...
PRIOR_SHARE = (
    0.1  # ... and as a share of the points: noise is at least about 0.3 of what is reported
)


def assemble(
    series: Sequence[Series], *, axis: str, events: Sequence[RecipeEvent]
) -> tuple[Search, Axis] | None:
    """Build the model of a run; None when it is too short or does not move at all.

    Args:
        series: All metrics of the run, the learning rate included.
        axis: ``"log"``, ``"linear"`` or ``"auto"``.
        events: What the tracker recorded.
    """
    schedules = [s for s in series if is_recipe(s)]
    measured = sorted((s for s in series if not is_recipe(s)), key=lambda s: (s.metric, s.site))
    steps = [s.step[np.isfinite(s.value)] for s in measured]
    grid = np.unique(np.concatenate(steps)).astype(float) if steps else np.empty(0)
    if grid.size < MIN_POINTS:
        return None
    line = choose_axis(grid, kind=axis)
    curves = [c for s in measured if (c := make_curve(s, line, grid)) is not None]
    bank = make_bank(line.fraction(grid), line)
    if not curves or not bank.place.size:
        return None
    scanners = [_scanner(c, line, bank, events, schedules) for c in curves]
    return Search(curves, scanners, Windows(bank), [c.is_witness for c in curves]), line


def _scanner(
    curve: Curve,
    axis: Axis,
    bank: Bank,
    events: Sequence[RecipeEvent],
    schedules: Sequence[Series],
) -> Scanner:
    level = level_columns(curve.u)
    marks = recipe_columns(curve.step, axis, events=events, schedules=schedules)
    return Scanner(
        curve.h,
        curve.index,
        np.hstack([level, marks]),
        trend_columns(curve.step, axis),
        columns(curve.u, bank.kind, bank.mid, bank.width),
        free_sd=np.r_[np.full(level.shape[1], FREE), np.full(marks.shape[1], RECIPE_SD)],
        prior_points=PRIOR_POINTS + PRIOR_SHARE * curve.u.size if curve.se_known else 0.0,
    )
