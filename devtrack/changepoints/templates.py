"""The shapes that the scan looks for: level changes and bends at every place and several widths."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from devtrack.changepoints.axis import Axis

Array = npt.NDArray[np.floating]

MAX_WIDTH = 0.25  # of the axis, 5-95 %: wider changes are trends
MAX_DECADES = 0.9  # half of what a single exponential relaxation takes (1.8 decades)
STEP_WIDTHS = (0.005, 0.02, 0.045, 0.09, 0.15, 0.25)
BEND_WIDTHS = (0.02, 0.08)
WIDE = 1.7  # wide changes, in units of the widest transition: offered as part of the trend
EDGE = 0.03
LOGISTIC_SPAN = 2 * np.log(19.0)  # 5-95 % width of the logistic function of scale 1


class Bank(NamedTuple):
    """The templates of a run.

    Args:
        kind: 0 level change, 1 bend, 2 wide level change (a trend), shape (template,).
        mid: Position on the axis, shape (template,).
        width: 5-95 % width or rounding, fraction of the axis, shape (template,).
        place: Places at which joint evidence is gathered, shape (place,).
    """

    kind: npt.NDArray[np.int64]
    mid: Array
    width: Array
    place: Array


def widest(axis: Axis) -> float:
    """Return the largest 5-95 % width that counts as a transition, as a fraction of the axis."""
    return MAX_WIDTH if axis.kind == "linear" else min(MAX_WIDTH, MAX_DECADES / axis.decades)


def level_change(u: Array, mid: npt.ArrayLike, width: npt.ArrayLike) -> Array:
    """Logistic rising from 0 to 1 with 5-95 % width ``width``; (point, template)."""
    scale = np.maximum(np.atleast_1d(width), 1e-4) / LOGISTIC_SPAN
    return expit((u[:, None] - np.atleast_1d(mid)) / scale)


def bend(u: Array, mid: npt.ArrayLike, width: npt.ArrayLike) -> Array:
    """Zero before ``mid``, of slope 1 after it, rounded over ``width``; (point, template)."""
    scale = np.maximum(np.atleast_1d(width), 1e-4) / 4
    return scale * np.logaddexp(0.0, (u[:, None] - np.atleast_1d(mid)) / scale)


def columns(u: Array, kind: npt.ArrayLike, mid: npt.ArrayLike, width: npt.ArrayLike) -> Array:
    """Return templates as columns, (point, template)."""
    kind, mid, width = np.atleast_1d(kind), np.atleast_1d(mid), np.atleast_1d(width)
    out = np.empty((u.size, kind.size))
    bends = kind == 1
    out[:, ~bends] = level_change(u, mid[~bends], width[~bends])
    out[:, bends] = bend(u, mid[bends], width[bends])
    return out


def make_bank(u: Array, axis: Axis, *, max_places: int = 110) -> Bank:
    """Lay templates between the snapshots.

    Args:
        u: Positions of the run's snapshots, ascending.
        axis: The run's axis.
        max_places: Places are thinned to at most this number.
    """
    middle = 0.5 * (u[1:] + u[:-1])
    inside = middle[(middle > max(EDGE, u[2])) & (middle < min(1 - EDGE, u[-3]))]
    place = _thin(inside, 1.0 / max_places)
    top = widest(axis)
    widths = [w for w in STEP_WIDTHS if w < top] + [top]
    kinds = [(0, w) for w in widths] + [(1, w) for w in BEND_WIDTHS] + [(2, WIDE * top)]
    kind = np.repeat([k for k, _ in kinds], place.size)
    width = np.repeat([w for _, w in kinds], place.size)
    return Bank(kind, np.tile(place, len(kinds)), width, place)


def _thin(places: Array, gap: float) -> Array:
    """Keep places that are at least ``gap`` apart."""
    kept: list[float] = []
    for p in places:
        if not kept or p - kept[-1] >= gap:
            kept.append(float(p))
    return np.array(kept)
