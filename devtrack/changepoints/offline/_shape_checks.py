"""What of a story shows in the curve that is fitted with it: level changes and turning points."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from devtrack.changepoints._templates import BEND, STEP, Shape, level_change
from devtrack.changepoints.offline._series_model import Fit, SeriesModel

Array = npt.NDArray[np.floating]

RETURN, RETURN_SHARE = 2.0, 0.1  # noise units and share of its range that a curve comes back by
TURN_REACH = 0.06  # to either side of a bend: where else it may lie, and where the curve turns
PROMINENCE = 1.5  # noise units that a curve must come back by on both sides of a turn
DISTINCT = 0.06  # of the series' range: a smaller level change is no change of the run


def comes_back(model: SeriesModel, fit: Fit) -> bool:
    """Say whether a fitted curve clearly rises and falls, with the marks of the recipe or without.

    Without them, because a mark is no turn; with them, because the fit of a curve that never turned
    may turn where a mark makes up for it.
    """
    return all(_comes_back(model, curve) for curve in (fit.own, fit.curve))


def _comes_back(model: SeriesModel, curve: Array) -> bool:
    least = max(RETURN * float(np.median(model.noise)), RETURN_SHARE * float(np.ptp(curve)))
    rise = np.max(curve - np.minimum.accumulate(curve))
    fall = np.max(np.maximum.accumulate(curve) - curve)
    return bool(min(rise, fall) >= least)


def is_visible(model: SeriesModel, fit: Fit, shape: Shape, effect: float) -> bool:
    """Say whether a level change shows: large enough, and the curve itself moves that way."""
    return shape.kind == BEND or (
        is_distinct(fit, effect) and moves_along(model, fit, shape, effect)
    )


def is_distinct(fit: Fit, effect: float) -> bool:
    """Say whether a level change is large enough to be one of the run, by this series alone."""
    return bool(abs(effect) >= DISTINCT * np.ptp(fit.curve))


def moves_along(model: SeriesModel, fit: Fit, shape: Shape, effect: float) -> bool:
    """Say whether the curve itself moves as its level change says.

    A step up that a steeper trend swallows is a kink of the trend.
    """
    ends = [shape.mid - shape.width / 2, shape.mid + shape.width / 2]
    before, after = np.interp(ends, model.curve.u, fit.curve)
    return bool((after - before) * effect > 0)


def turning_point(model: SeriesModel, shapes: Sequence[Shape], bend: Shape) -> int | None:
    """Return the snapshot at which the fit turns near a bend, as an index; None if it does not.

    It turns at the extremum between the neighbouring bends of the other sign, level changes left
    out, if it comes back by ``PROMINENCE`` of the noise on both sides, and if the curve turns there
    with them as well, and with the marks of the recipe: beside a trend that makes up for a level
    change or for marks it does not. A wide turn may
    be told as several bends of one sign: it is the nearest one's. A bend that does not turn is a
    kink: it says how the curve runs and is no change of its own.

    Args:
        model: Of the series.
        shapes: All of the series' shapes, ``bend`` itself among them.
        bend: The one in question.
    """
    fit, u = model.fit(shapes), model.curve.u
    bends = [(s, e) for s, e in zip(shapes, fit.effect, strict=True) if s.kind == BEND]
    sign = next(np.sign(e) for s, e in bends if s is bend)
    against = [s.mid for s, e in bends if e * sign < 0]
    left = max([mid for mid in against if mid < bend.mid], default=0.0)
    right = min([mid for mid in against if mid > bend.mid], default=1.0)
    levels = [
        e * level_change(u, s.mid, s.width)[:, 0]
        for s, e in zip(shapes, fit.effect, strict=True)
        if s.kind == STEP
    ]
    inside = np.flatnonzero((u >= left) & (u <= right))
    height = -sign * (fit.own - np.sum(levels, axis=0))[inside]
    top = int(np.argmax(height))
    along = [s for s, e in bends if e * sign >= 0 and left <= s.mid <= right]
    if min(along, key=lambda s: abs(s.mid - u[inside[top]])) is not bend:
        return None
    drop = min(height[top] - height[0], height[top] - height[-1])
    if drop < PROMINENCE * float(np.median(model.noise)):
        return None
    near = inside[np.abs(u[inside] - u[inside[top]]) <= TURN_REACH]
    turns = [
        seen[inside[top]] > max(seen[near[0]], seen[near[-1]])
        for seen in (-sign * fit.own, -sign * fit.curve)
    ]
    return int(inside[top]) if all(turns) else None
