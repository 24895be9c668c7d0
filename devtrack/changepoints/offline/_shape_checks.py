"""Shape checks: which changes and turning points are visible in the fitted curve."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from devtrack.changepoints._templates import KINK, STEP, Shape, level_change
from devtrack.changepoints.offline._series_model import Fit, SeriesModel

Array = npt.NDArray[np.floating]


def is_non_monotone(model: SeriesModel, fit: Fit) -> bool:
    """Say whether a fitted curve clearly rises and falls, with the event effects or without.

    Without event effects, because an event effect is no turn. With them, because the fit of a curve
    that never turned may turn where an event effect compensates for it.
    """
    return all(_is_non_monotone(model, curve) for curve in (fit.own, fit.curve))


def _is_non_monotone(model: SeriesModel, curve: Array) -> bool:
    checks = model.config.shape_checks
    least = max(
        checks.min_return * float(np.median(model.noise)),
        checks.min_return_share * float(np.ptp(curve)),
    )
    rise = np.max(curve - np.minimum.accumulate(curve))
    fall = np.max(np.maximum.accumulate(curve) - curve)
    return bool(min(rise, fall) >= least)


def is_visible(model: SeriesModel, fit: Fit, shape: Shape, effect: float) -> bool:
    """Say whether a level change shows: large enough, and the curve itself moves that way."""
    return shape.kind == KINK or (
        exceeds_min_effect(model, fit, effect) and agrees_in_sign(model, fit, shape, effect)
    )


def exceeds_min_effect(model: SeriesModel, fit: Fit, effect: float) -> bool:
    """Say whether a level change is large enough to be one of the run, by this series alone."""
    return bool(abs(effect) >= model.config.shape_checks.min_step_share * np.ptp(fit.curve))


def agrees_in_sign(model: SeriesModel, fit: Fit, shape: Shape, effect: float) -> bool:
    """Say whether the curve itself moves as its level change says.

    A step up that a steeper trend swallows is a kink of the trend.
    """
    ends = [shape.mid - shape.width / 2, shape.mid + shape.width / 2]
    before, after = np.interp(ends, model.curve.position, fit.curve)
    return bool((after - before) * effect > 0)


def turning_point(model: SeriesModel, shapes: Sequence[Shape], kink: Shape) -> int | None:
    """Return the snapshot at which the fit turns near a bend, as an index; None if it does not.

    The candidate is the extremum between the neighbouring kinks of the other sign, without level
    changes. The curve must decrease by ``turn_prominence`` of the noise on both sides. The fitted
    curve including level changes and event effects must turn there too. Otherwise the turn is an
    artefact of the trend compensating for them. If several kinks of the same sign describe one wide
    turn, it is attributed to the nearest. A kink without a turn is no change of its own.

    Args:
        model: Of the series.
        shapes: All of the series' shapes, ``kink`` itself among them.
        kink: The one in question.
    """
    fit, u, checks = model.fit(shapes), model.curve.position, model.config.shape_checks
    bends = [(s, e) for s, e in zip(shapes, fit.effect, strict=True) if s.kind == KINK]
    sign = next(np.sign(e) for s, e in bends if s is kink)
    against = [s.mid for s, e in bends if e * sign < 0]
    left = max([mid for mid in against if mid < kink.mid], default=0.0)
    right = min([mid for mid in against if mid > kink.mid], default=1.0)
    levels = [
        e * level_change(u, s.mid, s.width)[:, 0]
        for s, e in zip(shapes, fit.effect, strict=True)
        if s.kind == STEP
    ]
    inside = np.flatnonzero((u >= left) & (u <= right))
    height = -sign * (fit.own - np.sum(levels, axis=0))[inside]
    top = int(np.argmax(height))
    along = [s for s, e in bends if e * sign >= 0 and left <= s.mid <= right]
    if min(along, key=lambda s: abs(s.mid - u[inside[top]])) is not kink:
        return None
    drop = min(height[top] - height[0], height[top] - height[-1])
    if drop < checks.turn_prominence * float(np.median(model.noise)):
        return None
    near = inside[np.abs(u[inside] - u[inside[top]]) <= checks.turn_reach]
    turns = [
        seen[inside[top]] > max(seen[near[0]], seen[near[-1]])
        for seen in (-sign * fit.own, -sign * fit.curve)
    ]
    return int(inside[top]) if all(turns) else None
