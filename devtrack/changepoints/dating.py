"""Where a change of known place lies exactly, how large it is, and between which bounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from devtrack.changepoints.axis import Axis
from devtrack.changepoints.chance import Chance
from devtrack.changepoints.clusters import Cluster, Part, shapes_of, strength
from devtrack.changepoints.model import SeriesModel
from devtrack.changepoints.series import Move, Transition
from devtrack.changepoints.story import is_visible
from devtrack.changepoints.templates import BEND, STEP, Shape

Array = npt.NDArray[np.floating]

INTERVAL_LEVEL = 0.9
METHOD = "p-value, calibrated draws of the run's own noise"
MIDS, WIDTHS = 81, 12
TOO_WIDE = 1.2  # of the widest transition: a fit wider than this is a trend
TURN_REACH = 0.06  # to either side of a bend, where its extremum is looked for
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


def date(
    cluster: Cluster, clusters: Sequence[Cluster], odds: Chance, axis: Axis, *, alpha: float
) -> Transition | None:
    """Return a believed cluster as a transition; None when no series' part holds on a close look.

    Args:
        cluster: The change.
        clusters: All believed changes, this one among them.
        odds: The run and what chance can do in it.
        axis: The run's axis.
        alpha: The nominal rate.
    """
    read = _step if cluster.kind == STEP else _turn
    parts = [(p, odds.models[p.series], shapes_of(clusters, p.series)) for p in cluster.parts]
    dated = [d for p, model, shapes in parts if (d := read(p, model, shapes)) is not None]
    if not dated:
        return None
    dated.sort(key=lambda d: d.mid)
    mid, low, high = (float(np.median([getattr(d, k) for d in dated])) for k in _PLACES)
    return Transition(
        kind="step" if cluster.kind == STEP else "turn",
        onset=_step_at(axis, min(d.mid - d.width / 2 for d in dated)),
        midpoint=_step_at(axis, mid),
        end=_step_at(axis, max(d.mid + d.width / 2 for d in dated)),
        midpoint_low=_step_at(axis, low),
        midpoint_high=_step_at(axis, high),
        interval_level=INTERVAL_LEVEL,
        evidence=odds.p_value(strength(cluster, odds)),
        evidence_method=METHOD,
        alpha=alpha,
        event=None,
        moves=tuple(_move(d, axis) for d in dated),
    )


_PLACES = ("mid", "low", "high")


def _step(part: Part, model: SeriesModel, shapes: list[Shape]) -> Dated | None:
    """Date a level change by the posterior of its midpoint, widths summed over."""
    others = [shape for shape in shapes if shape is not part.shape]
    mid, width = part.shape.mid, part.shape.width
    reach = 0.02 + 0.6 * width
    mids = np.linspace(mid - reach, mid + reach, MIDS)
    widths = np.geomspace(0.004, 1.5 * model.top, WIDTHS)
    grid, wide = (a.ravel() for a in np.meshgrid(mids, widths, indexing="ij"))
    gain = model.gains(others, np.full(grid.size, STEP), grid, wide)
    mass = np.exp(0.5 * (gain - gain.max())).reshape(MIDS, WIDTHS)
    by_mid, by_width = mass.sum(axis=1) / mass.sum(), mass.sum(axis=0) / mass.sum()
    tail = (1 - INTERVAL_LEVEL) / 2
    total = np.cumsum(by_mid) - 0.5 * by_mid
    middle, low, high = np.interp([0.5, tail, 1 - tail], total, mids)
    width = float(np.exp(by_width @ np.log(widths)))
    if width > TOO_WIDE * model.top:
        return None
    shape = Shape(STEP, float(middle), width)
    fit = model.fit([*others, shape])
    effect = float(fit.effect[-1])
    if not is_visible(model, fit, shape, effect):
        return None
    se = abs(effect) / max(np.sqrt(float(gain.max())), 1e-9)
    return Dated(model, float(middle), float(low), float(high), width, effect, se)


def _turn(part: Part, model: SeriesModel, shapes: list[Shape]) -> Dated | None:
    """Date a turning point by the extremum of the fit; None when the slope keeps its sign."""
    kind, mid, width = part.shape
    assert kind == BEND
    u, fit = model.curve.u, model.fit(shapes)
    gap = 0.02 + width / 2
    ends = np.clip([mid - 0.1, mid - gap, mid + gap, mid + 0.1], 0.0, 1.0)
    level = np.interp(ends, u, fit.curve)
    before, after = level[1] - level[0], level[3] - level[2]
    if before * after >= 0:
        return None
    near = np.flatnonzero(np.abs(u - mid) < TURN_REACH)
    extremum = float(u[near[np.argmax(np.sign(before) * fit.curve[near])]]) if near.size else mid
    place = 0.5 * (extremum + mid)  # the extremum lies on a snapshot, the bend between them
    others = [shape for shape in shapes if shape is not part.shape]
    mids = np.linspace(mid - TURN_REACH, mid + TURN_REACH, MIDS)
    gain = model.gains(others, np.full(MIDS, BEND), mids, np.full(MIDS, max(width, 0.01)))
    mass = np.exp(0.5 * (gain - gain.max()))
    total = (np.cumsum(mass) - 0.5 * mass) / mass.sum()
    tail = (1 - INTERVAL_LEVEL) / 2
    middle, low, high = np.interp([0.5, tail, 1 - tail], total, mids)
    index = next(i for i, shape in enumerate(shapes) if shape is part.shape)
    effect = float(fit.effect[index])
    se = abs(effect) / max(np.sqrt(float(gain.max())), 1e-9)
    shift = place - middle
    return Dated(model, place, float(low + shift), float(high + shift), TURN_WIDTH, effect, se)


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
