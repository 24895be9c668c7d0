"""The shapes that the detector looks for: level changes and bends of several widths."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from devtrack.changepoints._step_scale import Axis
from devtrack.changepoints.config import TemplateConfig

Array = npt.NDArray[np.floating]

STEP, KINK = 0, 1

LOGISTIC_SPAN = 2 * np.log(19.0)  # 5-95 % width of the logistic function of scale 1


class Shape(NamedTuple):
    """One template.

    Args:
        kind: ``STEP`` or ``KINK``.
        mid: Position on the axis.
        width: 5-95 % width of a level change, rounding of a bend; fraction of the axis.
    """

    kind: int
    mid: float
    width: float


class TemplateBank(NamedTuple):
    """All templates of one series, class by class, each class over all places.

    Shapes:
        place: (place,); kind, mid, width: (class · place,).
    """

    place: Array
    kind: npt.NDArray[np.int64]
    mid: Array
    width: Array

    def shape(self, i: int) -> Shape:
        """Return template ``i``."""
        return Shape(int(self.kind[i]), float(self.mid[i]), float(self.width[i]))

    def classes(self) -> list[slice]:
        """Return the rows of each (kind, width)."""
        return [slice(i, i + self.place.size) for i in range(0, self.kind.size, self.place.size)]


def max_transition_width(axis: Axis, config: TemplateConfig) -> float:
    """Return the largest 5-95 % width that counts as a transition, as a fraction of the axis."""
    widest = config.max_width
    return widest if axis.kind == "linear" else min(widest, config.max_decades / axis.decades)


def level_change(u: Array, mid: npt.ArrayLike, width: npt.ArrayLike) -> Array:
    """Logistic rising from 0 to 1 with 5-95 % width ``width``; (point, template)."""
    scale = np.maximum(np.atleast_1d(width), 1e-4) / LOGISTIC_SPAN
    return expit((u[:, None] - np.atleast_1d(mid)) / scale)


def kink(u: Array, mid: npt.ArrayLike, width: npt.ArrayLike) -> Array:
    """Zero before ``mid``, of slope 1 after it, rounded over ``width``; (point, template)."""
    scale = np.maximum(np.atleast_1d(width), 1e-4) / 4
    return scale * np.logaddexp(0.0, (u[:, None] - np.atleast_1d(mid)) / scale)


def columns(u: Array, kind: npt.ArrayLike, mid: npt.ArrayLike, width: npt.ArrayLike) -> Array:
    """Return templates as columns, (point, template)."""
    kind, mid, width = np.atleast_1d(kind), np.atleast_1d(mid), np.atleast_1d(width)
    bends = kind == KINK
    if not bends.any():
        return level_change(u, mid, width)
    if bends.all():
        return kink(u, mid, width)
    out = np.empty((u.size, kind.size))
    out[:, ~bends] = level_change(u, mid[~bends], width[~bends])
    out[:, bends] = kink(u, mid[bends], width[bends])
    return out


def make_template_bank(u: Array, top: float, config: TemplateConfig) -> TemplateBank | None:
    """Lay templates between the snapshots; None when there is no room.

    Args:
        u: Positions of the snapshots, ascending.
        top: Widest level change.
        config: Which changes are looked for. None is within the first or last 3 points.
    """
    middle = 0.5 * (u[1:] + u[:-1])
    low, high = max(config.edge, u[3]), min(1 - config.edge, u[-4])
    place = _thin(middle[(middle > low) & (middle < high)], 1.0 / config.max_places)
    if place.size < 3:
        return None
    widths = [w for w in config.step_widths if w < top] + [top]
    kinds = [(STEP, w) for w in widths] + [(KINK, w) for w in config.kink_widths]
    kind = np.repeat([k for k, _ in kinds], place.size)
    width = np.repeat([w for _, w in kinds], place.size)
    return TemplateBank(place, kind, np.tile(place, len(kinds)), width)


def is_admissible(kind: npt.ArrayLike, mid: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Say where a template may be moved to: a bend needs a slope on either side of it."""
    mid = np.asarray(mid)
    room = np.where(np.asarray(kind) == KINK, 0.08, 0.01)
    return (mid > room) & (mid < 1 - room)


def _thin(places: Array, gap: float) -> Array:
    """Keep places that are at least ``gap`` apart."""
    kept: list[float] = []
    for p in places:
        if not kept or p - kept[-1] >= gap:
            kept.append(float(p))
    return np.array(kept)
