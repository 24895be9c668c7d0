"""Where a change of known place lies exactly, how large it is, and between which bounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from devtrack.changepoints._step_scale import Axis
from devtrack.changepoints._templates import KINK, STEP, Shape
from devtrack.changepoints.config import DetectorConfig
from devtrack.changepoints.offline._clustering import (
    ChangeCluster,
    SeriesChange,
    cluster_evidence,
    shapes_in,
)
from devtrack.changepoints.offline._series_model import SeriesModel
from devtrack.changepoints.offline._shape_checks import (
    agrees_in_sign,
    exceeds_min_effect,
    turning_point,
)
from devtrack.changepoints.offline._significance import NullDistribution
from devtrack.series import Move, Transition

Array = npt.NDArray[np.floating]

METHOD = "p-value, draws of the run's own noise"


class LocatedChange(NamedTuple):
    """One series' part, in fractions of the axis and units of its curve."""

    model: SeriesModel
    mid: float
    low: float
    high: float
    width: float
    effect: float
    effect_se: float
    exceeds_min_effect: bool = True  # a change of the run by itself, not only in company


def locate(
    cluster: ChangeCluster,
    clusters: Sequence[ChangeCluster],
    null: NullDistribution,
    axis: Axis,
    config: DetectorConfig,
    *,
    alpha: float,
) -> Transition | None:
    """Return a significant cluster as a transition; None when too few parts hold on a close look.

    The evidence is that of the parts that do.

    Args:
        cluster: The change.
        clusters: All significant changes, this one among them.
        null: The run and what chance can do in it.
        axis: The run's axis.
        config: The detector's constants.
        alpha: The nominal rate.
    """
    read = _step if cluster.kind == STEP else _turn
    parts = [(p, null.models[p.series], shapes_in(clusters, p.series)) for p in cluster.parts]
    retained = [(p, d) for p, model, shapes in parts if (d := read(p, model, shapes)) is not None]
    if not any(d.exceeds_min_effect for _, d in retained):
        return None
    if cluster.kind == KINK:  # beside a bend at one place a curve may turn at another
        retained = [
            (p, d) for p, d in retained if abs(d.mid - retained[0][1].mid) <= _turn_reach(config)
        ]
    evidence = (
        null.p_value(cluster_evidence(ChangeCluster([p for p, _ in retained]), null))
        if retained
        else 1.0
    )
    if evidence > alpha:
        return None
    located = sorted((d for _, d in retained), key=lambda d: d.mid)
    mid, low, high = (float(np.median([getattr(d, k) for d in located])) for k in _PLACES)
    return Transition(
        kind="step" if cluster.kind == STEP else "turn",
        onset=_step_at(axis, min(d.mid - d.width / 2 for d in located)),
        midpoint=_step_at(axis, mid),
        end=_step_at(axis, max(d.mid + d.width / 2 for d in located)),
        midpoint_low=_step_at(axis, low),
        midpoint_high=_step_at(axis, high),
        interval_level=config.location.interval_level,
        evidence=evidence,
        evidence_method=METHOD,
        alpha=alpha,
        event=None,
        moves=tuple(_move(d, axis) for d in located),
    )


_PLACES = ("mid", "low", "high")


def _turn_reach(config: DetectorConfig) -> float:
    return config.significance.lag + config.shape_checks.turn_reach


def _step(part: SeriesChange, model: SeriesModel, shapes: list[Shape]) -> LocatedChange | None:
    """Date a level change by the posterior of its midpoint, widths summed over."""
    location, checks = model.config.location, model.config.shape_checks
    others = [shape for shape in shapes if shape is not part.shape]
    mids, widths, glr = _local_grid(part.shape, others, model)
    mass = np.exp(0.5 * (glr - glr.max()))
    middle = _quantiles(mass.sum(axis=1), mids, [0.5])[0]
    low, high = _interval(glr, mids, location.interval_level, location.step_inflation)
    by_width = mass.sum(axis=0) / mass.sum()
    width = float(np.exp(by_width @ np.log(widths)))
    if width > checks.max_width_ratio * model.top or not _is_observed(model, float(middle)):
        return None
    shape = Shape(STEP, float(middle), width)
    fit = model.fit([*others, shape])
    effect = float(fit.effect[-1])
    extent = float(np.ptp(fit.curve))
    least, most = checks.min_effect_share * extent, checks.max_effect_share * extent
    if not least <= abs(effect) <= most or not agrees_in_sign(model, fit, shape, effect):
        return None
    se = abs(effect) / max(np.sqrt(float(glr.max())), 1e-9)
    distinct = exceeds_min_effect(model, fit, effect)
    return LocatedChange(model, float(middle), float(low), float(high), width, effect, se, distinct)


def _local_grid(
    shape: Shape, others: Sequence[Shape], model: SeriesModel
) -> tuple[Array, Array, Array]:
    """Return midpoints near the shape, widths, and the gain of each pair.

    All beside the trend that is fitted with the shape, or without it. If the trend is fitted
    without the change, it absorbs part of it and biases the location. If it is fitted with the
    change at the initial location, it anchors the change there. Both are computed, and the one with
    the lower cost is used.
    """
    location = model.config.location
    reach = 0.02 + 0.6 * shape.width
    mids = np.linspace(shape.mid - reach, shape.mid + reach, location.num_mids)
    widths = np.geomspace(0.004, 1.5 * model.top, location.num_widths)
    grid, wide = (a.ravel() for a in np.meshgrid(mids, widths, indexing="ij"))
    looks = []
    for selected in ([shape], []):
        glr = model.glr_at(others, np.full(grid.size, STEP), grid, wide, selected=selected)
        best = int(np.argmax(glr))
        cost = model.cost([*others, Shape(STEP, float(grid[best]), float(wide[best]))])
        looks.append((cost, glr.reshape(location.num_mids, location.num_widths)))
    return mids, widths, min(looks, key=lambda look: look[0])[1]


def relocate(clusters: Sequence[ChangeCluster], null: NullDistribution) -> list[ChangeCluster]:
    """Move each level change to its own best place; leave out those that leave their cluster.

    A change that turns out too wide is a trend and becomes a nuisance term. A change beside a kink
    of its series is drawn into the kink and distorts the others, so the weakest are relocated
    first.

    Args:
        clusters: The significant changes; their parts are changed in place.
        null: The run and what chance can do in it.
    """
    steps = [(p, c) for c in clusters if c.kind == STEP for p in c.parts]
    for part, cluster in sorted(steps, key=lambda pair: pair[0].glr):
        home, model = cluster.mid, null.models[part.series]
        others = [s for s in shapes_in(clusters, part.series) if s is not part.shape]
        place = _best_place(part.shape, others, model)
        at = cluster.parts.index(part)
        del cluster.parts[at]
        if place is None:
            continue
        wider = max(part.shape.width, place.width)
        reach = null.config.lag + null.config.lag_per_width * wider
        if abs(place.mid - home) > abs(part.shape.mid - home) + reach:
            continue
        if place.width > model.config.shape_checks.max_width_ratio * model.top:
            cluster.nuisance.append(part._replace(shape=place))
        else:
            cluster.parts.insert(at, part._replace(shape=place))
    return [c for c in clusters if c.parts]


def _best_place(shape: Shape, others: Sequence[Shape], model: SeriesModel) -> Shape | None:
    """Return the shape where it fits best, followed over its window; None if it runs away."""
    for _ in range(model.config.location.num_windows):
        mids, widths, glr = _local_grid(shape, others, model)
        at, wide = np.unravel_index(int(np.argmax(glr)), glr.shape)
        shape = Shape(STEP, float(mids[at]), float(widths[wide]))
        if 0 < at < mids.size - 1:
            return shape
    return None


def _is_observed(model: SeriesModel, place: float) -> bool:
    """Say whether a place has snapshots enough on either side to tell a level from a trend.

    In the gap between the first snapshot or two and the next a change of almost any size fits.
    """
    u, outer = model.curve.position, model.config.shape_checks.min_outer_points
    return bool(u[outer] < place < u[-1 - outer])


def _turn(part: SeriesChange, model: SeriesModel, shapes: list[Shape]) -> LocatedChange | None:
    """Date a turning point: the extremum of the fit between the neighbouring bends.

    A bend says that the slope changes, the smooth trend shares in where its sign does. None when
    it is no turning point.
    """
    top = turning_point(model, shapes, part.shape)
    if top is None:
        return None
    index = next(i for i, shape in enumerate(shapes) if shape is part.shape)
    others = shapes[:index] + shapes[index + 1 :]
    effect, place = float(model.fit(shapes).effect[index]), float(model.curve.position[top])
    location, reach = model.config.location, model.config.shape_checks.turn_reach
    mids = np.linspace(part.shape.mid - reach, part.shape.mid + reach, location.num_mids)
    kind, width = np.full(mids.size, KINK), np.full(mids.size, part.shape.width)
    glr = model.glr_at(others, kind, mids, width)
    middle = _quantiles(np.exp(0.5 * (glr - glr.max())), mids, [0.5])[0]
    low, high = _interval(glr[:, None], mids, location.interval_level, location.kink_inflation)
    se = abs(effect) / max(np.sqrt(float(glr.max())), 1e-9)
    shift = place - middle
    bounds = (float(low + shift), float(high + shift))
    return LocatedChange(model, place, *bounds, location.turn_width, effect, se)


def _interval(glr: Array, mids: Array, level: float, inflation: float) -> Array:
    """Return the ends of the midpoint's interval, (2,), of gains (mid, width)."""
    mass = np.exp(0.5 * (glr - glr.max()) / inflation**2).sum(axis=1)
    tail = (1 - level) / 2
    return _quantiles(mass, mids, [tail, 1 - tail])


def _quantiles(mass: Array, mids: Array, at: Sequence[float]) -> Array:
    total = (np.cumsum(mass) - 0.5 * mass) / mass.sum()
    return np.interp(at, total, mids)


def _move(d: LocatedChange, axis: Axis) -> Move:
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
