"""Candidates to transitions: dates with intervals, sizes with errors, in the words of the user."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from devtrack.changepoints.axis import Axis
from devtrack.changepoints.calibrate import Chance
from devtrack.changepoints.joint import BEND, STEP
from devtrack.changepoints.locate import Posterior, locate
from devtrack.changepoints.scan import Setting
from devtrack.changepoints.search import Candidate, Part, Search
from devtrack.changepoints.series import Move, Transition
from devtrack.changepoints.templates import widest
from devtrack.changepoints.turning import find_turn

Array = npt.NDArray[np.floating]

INTERVAL_LEVEL = 0.9
METHOD = "p-value, bootstrap of the run"
TURN_WIDTH = 0.06  # onset to end of a turning point, which has no ends of its own
TOO_WIDE = 1.2  # of the widest transition: a fit wider than this is a trend


class _Dated(NamedTuple):
    """One series' part, in fractions of the axis."""

    mid: float
    low: float
    high: float
    width: float
    effect: float
    effect_se: float
    series: int


def describe(
    search: Search, found: list[Candidate], odds: Chance, axis: Axis, *, alpha: float
) -> list[Transition]:
    """Return the believed candidates as transitions, by midpoint.

    Args:
        search: The run.
        found: The believed candidates.
        odds: What chance can do in this run.
        axis: The run's axis.
        alpha: The nominal rate.
    """
    settings: dict[int, Setting] = {}
    out = []
    for i, c in enumerate(found):
        others = found[:i] + found[i + 1 :]
        dated = []
        for part in c.parts:
            s = part.series
            if s not in settings:
                settings[s] = search.scanners[s].setting(
                    search.curves[s].y, extra=search.nuisance(s, found)
                )
            one = _date(search, c, part, others, settings[s], axis)
            if one is not None:
                dated.append(one)
        if dated:
            p = odds.p_value(search.weigh(found, i, fast=c.kind == BEND))
            out.append(_transition(search, c, dated, axis, p, alpha))
    return sorted(out, key=lambda t: t.midpoint)


def _date(
    search: Search, c: Candidate, part: Part, others: list[Candidate], setting: Setting, axis: Axis
) -> _Dated | None:
    """Date one series' part; None when it is a trend after all."""
    s, top = part.series, widest(axis)
    is_bend = c.kind == BEND
    posterior = locate(
        search.curves[s].y,
        search.curves[s].u,
        search.scanners[s],
        setting=setting,
        others=np.hstack([search.extra(s, others), search.trend(s, [*others, c])]),
        place=part.mid,
        reach=0.05 if is_bend else 0.02 + 0.6 * part.width,
        widths=(0.01, 0.12) if is_bend else (0.004, 1.6 * top),
        is_bend=is_bend,
    )
    mid, low, high = _quantiles(posterior)
    if is_bend:
        place = _turn(search, c, part, others, setting, mid)
        if place is None:
            return None
        shift = place - mid
        mid, low, high = place, low + shift, high + shift
    elif posterior.width > TOO_WIDE * top:
        return None
    width = TURN_WIDTH if is_bend else posterior.width
    return _Dated(mid, low, high, width, posterior.effect, posterior.effect_se, s)


def _quantiles(posterior: Posterior) -> tuple[float, float, float]:
    tail = (1 - INTERVAL_LEVEL) / 2
    total = np.cumsum(posterior.mass) - 0.5 * posterior.mass
    mid, low, high = np.interp([0.5, tail, 1 - tail], total, posterior.mid)
    return float(mid), float(low), float(high)


def _turn(
    search: Search, c: Candidate, part: Part, others: list[Candidate], setting: Setting, mid: float
) -> float | None:
    s, found = part.series, [*others, c]
    bends = [p.mid for o in others if o.kind == BEND for p in o.parts if p.series == s]
    is_level = [o.kind == STEP for o in found for p in o.parts if p.series == s]
    extra = search.nuisance(s, found)
    turn = find_turn(
        search.curves[s].u,
        search.curves[s].y,
        search.scanners[s],
        setting=setting,
        extra=extra,
        is_level=np.array(is_level + [False] * (extra.shape[1] - len(is_level))),
        place=mid,
        left=max([b for b in bends if b < part.mid], default=0.0),
        right=min([b for b in bends if b > part.mid], default=1.0),
    )
    return None if turn is None else turn.place


def _transition(
    search: Search, c: Candidate, dated: list[_Dated], axis: Axis, p: float, alpha: float
) -> Transition:
    dated = sorted(dated, key=lambda d: d.mid)
    mid, low, high = (
        float(np.median([getattr(d, k) for d in dated])) for k in ("mid", "low", "high")
    )
    return Transition(
        kind="step" if c.kind == STEP else "turn",
        onset=axis.step(max(0.0, min(d.mid - d.width / 2 for d in dated))),
        midpoint=axis.step(mid),
        end=axis.step(min(1.0, max(d.mid + d.width / 2 for d in dated))),
        midpoint_low=axis.step(low),
        midpoint_high=axis.step(high),
        interval_level=INTERVAL_LEVEL,
        evidence=p,
        evidence_method=METHOD,
        alpha=alpha,
        event=None,
        moves=tuple(_move(search, d, axis) for d in dated),
    )


def _move(search: Search, d: _Dated, axis: Axis) -> Move:
    curve = search.curves[d.series]
    return Move(
        metric=curve.metric,
        site=curve.site,
        direction="up" if d.effect > 0 else "down",
        effect=d.effect * curve.scale,
        effect_se=d.effect_se * curve.scale,
        onset=axis.step(max(0.0, d.mid - d.width / 2)),
        midpoint=axis.step(d.mid),
        end=axis.step(min(1.0, d.mid + d.width / 2)),
        midpoint_low=axis.step(d.low),
        midpoint_high=axis.step(d.high),
    )
