"""Where a change of known place lies exactly, how large it is, and between which bounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from devtrack.changepoints._step_scale import Axis
from devtrack.changepoints._templates import BEND, STEP, Shape
from devtrack.changepoints.offline._clustering import Cluster, Part, shapes_of, strength
from devtrack.changepoints.offline._series_model import SeriesModel
from devtrack.changepoints.offline._shape_checks import (
    TURN_REACH,
    is_distinct,
    moves_along,
    turning_point,
)
from devtrack.changepoints.offline._significance import LAG, LAG_PER_WIDTH, Chance
from devtrack.series import Move, Transition

Array = npt.NDArray[np.floating]

INTERVAL_LEVEL = 0.9
# A posterior takes noise, correlation and trend for known, which are estimates, and the shape for
# the ideal one: on the benchmark's generator (seeds 201 to 203) midpoints were off by so many times
# what it says. On the public part, seeds 218 to 220 and three sets of other shapes the intervals
# then cover 94 % of the midpoints.
WIDER = {STEP: 1.3, BEND: 1.6}
METHOD = "p-value, draws of the run's own noise"
MIDS, WIDTHS = 81, 12
MOVES = 4  # windows through which a change is followed to its best place
OUTER = 2  # snapshots at either end before and after which no change is dated
TOO_WIDE = 1.2  # of the widest transition: a fit wider than this is a trend
FAINT = 0.02  # of its range: a series that moves by less is not said to take part
# Of its range: a level change larger than this is one that relaxations or marks of the recipe make
# up for, and says how the fit came about instead of how the series went.
EXCESSIVE = 1.25
TURN_WIDTH = 0.06  # onset to end of a turning point, which has no ends of its own


class Dated(NamedTuple):
    """One series' part, in fractions of the axis and units of its curve."""

    model: SeriesModel
    mid: float
    low: float
    high: float
    width: float
    effect: float
    effect_se: float
    is_distinct: bool = True  # a change of the run by itself, not only in company


def date(
    cluster: Cluster, clusters: Sequence[Cluster], odds: Chance, axis: Axis, *, alpha: float
) -> Transition | None:
    """Return a believed cluster as a transition; None when too few parts hold on a close look.

    The evidence is that of the parts that do.

    Args:
        cluster: The change.
        clusters: All believed changes, this one among them.
        odds: The run and what chance can do in it.
        axis: The run's axis.
        alpha: The nominal rate.
    """
    read = _step if cluster.kind == STEP else _turn
    parts = [(p, odds.models[p.series], shapes_of(clusters, p.series)) for p in cluster.parts]
    held = [(p, d) for p, model, shapes in parts if (d := read(p, model, shapes)) is not None]
    if not any(d.is_distinct for _, d in held):
        return None
    if cluster.kind == BEND:  # beside a bend at one place a curve may turn at another
        held = [(p, d) for p, d in held if abs(d.mid - held[0][1].mid) <= LAG + TURN_REACH]
    evidence = odds.p_value(strength(Cluster([p for p, _ in held]), odds)) if held else 1.0
    if evidence > alpha:
        return None
    dated = sorted((d for _, d in held), key=lambda d: d.mid)
    mid, low, high = (float(np.median([getattr(d, k) for d in dated])) for k in _PLACES)
    return Transition(
        kind="step" if cluster.kind == STEP else "turn",
        onset=_step_at(axis, min(d.mid - d.width / 2 for d in dated)),
        midpoint=_step_at(axis, mid),
        end=_step_at(axis, max(d.mid + d.width / 2 for d in dated)),
        midpoint_low=_step_at(axis, low),
        midpoint_high=_step_at(axis, high),
        interval_level=INTERVAL_LEVEL,
        evidence=evidence,
        evidence_method=METHOD,
        alpha=alpha,
        event=None,
        moves=tuple(_move(d, axis) for d in dated),
    )


_PLACES = ("mid", "low", "high")


def _step(part: Part, model: SeriesModel, shapes: list[Shape]) -> Dated | None:
    """Date a level change by the posterior of its midpoint, widths summed over."""
    others = [shape for shape in shapes if shape is not part.shape]
    mids, widths, gain = _close_look(part.shape, others, model)
    mass = np.exp(0.5 * (gain - gain.max()))
    middle = _quantiles(mass.sum(axis=1), mids, [0.5])[0]
    low, high = _interval(gain, mids, STEP)
    by_width = mass.sum(axis=0) / mass.sum()
    width = float(np.exp(by_width @ np.log(widths)))
    if width > TOO_WIDE * model.top or not _is_seen(model, float(middle)):
        return None
    shape = Shape(STEP, float(middle), width)
    fit = model.fit([*others, shape])
    effect = float(fit.effect[-1])
    extent = float(np.ptp(fit.curve))
    is_in_bounds = FAINT * extent <= abs(effect) <= EXCESSIVE * extent
    if not is_in_bounds or not moves_along(model, fit, shape, effect):
        return None
    se = abs(effect) / max(np.sqrt(float(gain.max())), 1e-9)
    distinct = is_distinct(fit, effect)
    return Dated(model, float(middle), float(low), float(high), width, effect, se, distinct)


def _close_look(
    shape: Shape, others: Sequence[Shape], model: SeriesModel
) -> tuple[Array, Array, Array]:
    """Return midpoints near the shape, widths, and the gain of each pair.

    All beside the trend that is fitted with the shape, or without it. One without goes wrong for
    want of it, and what makes up for that best lies elsewhere, or is too wide for a change; one
    with it, for a shape that is off its place, holds it there. Taken is the one whose best place
    tells the series at the lower cost.
    """
    reach = 0.02 + 0.6 * shape.width
    mids = np.linspace(shape.mid - reach, shape.mid + reach, MIDS)
    widths = np.geomspace(0.004, 1.5 * model.top, WIDTHS)
    grid, wide = (a.ravel() for a in np.meshgrid(mids, widths, indexing="ij"))
    looks = []
    for told in ([shape], []):
        gain = model.gains(others, np.full(grid.size, STEP), grid, wide, told=told)
        best = int(np.argmax(gain))
        cost = model.cost([*others, Shape(STEP, float(grid[best]), float(wide[best]))])
        looks.append((cost, gain.reshape(MIDS, WIDTHS)))
    return mids, widths, min(looks, key=lambda look: look[0])[1]


def settle(clusters: Sequence[Cluster], odds: Chance) -> list[Cluster]:
    """Move each level change to its own best place; leave out those that leave their cluster.

    One that turns out too wide is a trend, and put aside. One told beside a place where its series
    bends is drawn into the bend, and then blurs the others: the weakest are settled first.

    Args:
        clusters: The believed changes; their parts are changed in place.
        odds: The run and what chance can do in it.
    """
    steps = [(p, c) for c in clusters if c.kind == STEP for p in c.parts]
    for part, cluster in sorted(steps, key=lambda pair: pair[0].gain):
        home, model = cluster.mid, odds.models[part.series]
        others = [s for s in shapes_of(clusters, part.series) if s is not part.shape]
        place = _best_place(part.shape, others, model)
        at = cluster.parts.index(part)
        del cluster.parts[at]
        if place is None:
            continue
        reach = LAG + LAG_PER_WIDTH * max(part.shape.width, place.width)
        if abs(place.mid - home) > abs(part.shape.mid - home) + reach:
            continue
        if place.width > TOO_WIDE * model.top:
            cluster.aside.append(part._replace(shape=place))
        else:
            cluster.parts.insert(at, part._replace(shape=place))
    return [c for c in clusters if c.parts]


def _best_place(shape: Shape, others: Sequence[Shape], model: SeriesModel) -> Shape | None:
    """Return the shape where it fits best, followed over its window; None if it runs away."""
    for _ in range(MOVES):
        mids, widths, gain = _close_look(shape, others, model)
        at, wide = np.unravel_index(int(np.argmax(gain)), gain.shape)
        shape = Shape(STEP, float(mids[at]), float(widths[wide]))
        if 0 < at < MIDS - 1:
            return shape
    return None


def _is_seen(model: SeriesModel, place: float) -> bool:
    """Say whether a place has snapshots enough on either side to tell a level from a trend.

    In the gap between the first snapshot or two and the next a change of almost any size fits.
    """
    u = model.curve.u
    return bool(u[OUTER] < place < u[-1 - OUTER])


def _turn(part: Part, model: SeriesModel, shapes: list[Shape]) -> Dated | None:
    """Date a turning point: the extremum of the fit between the neighbouring bends.

    A bend says that the slope changes, the smooth trend shares in where its sign does. None when
    it is no turning point.
    """
    top = turning_point(model, shapes, part.shape)
    if top is None:
        return None
    index = next(i for i, shape in enumerate(shapes) if shape is part.shape)
    others = shapes[:index] + shapes[index + 1 :]
    effect, place = float(model.fit(shapes).effect[index]), float(model.curve.u[top])
    mids = np.linspace(part.shape.mid - TURN_REACH, part.shape.mid + TURN_REACH, MIDS)
    gain = model.gains(others, np.full(MIDS, BEND), mids, np.full(MIDS, part.shape.width))
    middle = _quantiles(np.exp(0.5 * (gain - gain.max())), mids, [0.5])[0]
    low, high = _interval(gain[:, None], mids, BEND)
    se = abs(effect) / max(np.sqrt(float(gain.max())), 1e-9)
    shift = place - middle
    return Dated(model, place, float(low + shift), float(high + shift), TURN_WIDTH, effect, se)


def _interval(gain: Array, mids: Array, kind: int) -> Array:
    """Return the ends of the midpoint's interval, (2,), of gains (mid, width)."""
    mass = np.exp(0.5 * (gain - gain.max()) / WIDER[kind] ** 2).sum(axis=1)
    tail = (1 - INTERVAL_LEVEL) / 2
    return _quantiles(mass, mids, [tail, 1 - tail])


def _quantiles(mass: Array, mids: Array, at: Sequence[float]) -> Array:
    total = (np.cumsum(mass) - 0.5 * mass) / mass.sum()
    return np.interp(at, total, mids)


def _move(d: Dated, axis: Axis) -> Move:
    curve = d.model.curve
    return Move(
        metric=curve.metric,
        site=curve.site,
        direction="up" if d.effect > 0 else "down",
        effect=d.effect * curve.scale,
        effect_se=d.effect_se * curve.scale,
        onset=_step_at(axis, d.mid - d.width / 2),
        midpoint=_step_at(axis, d.mid),
        end=_step_at(axis, d.mid + d.width / 2),
        midpoint_low=_step_at(axis, d.low),
        midpoint_high=_step_at(axis, d.high),
    )


def _step_at(axis: Axis, fraction: float) -> float:
    return axis.step(float(np.clip(fraction, 0.0, 1.0)))
