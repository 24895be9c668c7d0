"""Does a bend turn the curve round? The slope before and after it, and where it is zero.

A bend that only slows a curve down or speeds it up belongs to the trend. A turning point is a place
from which the smooth part of the curve (without its level changes) goes the same way to both sides,
by more than the fit's own error on each side.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from devtrack.changepoints.scan import Scanner, Setting

Array = npt.NDArray[np.floating]

SIDE = 2.5  # standard errors by which the curve must rise (or fall) on either side


class Turn(NamedTuple):
    """A turning point of one series.

    Args:
        place: Where the slope is zero, on the axis.
        strength: The smaller of the two sides' changes, in standard errors.
    """

    place: float
    strength: float


def find_turn(
    u: Array,
    y: Array,
    scanner: Scanner,
    *,
    setting: Setting,
    extra: Array,
    is_level: npt.NDArray[np.bool_],
    place: float,
    left: float,
    right: float,
) -> Turn | None:
    """Look for a turning point near a bend.

    Args:
        u, y: The curve, shape (point,).
        scanner: The series' model.
        setting: Noise and trend amplitude.
        extra: Columns of all changes, (point, change).
        is_level: Which of them are level changes, shape (change,).
        place: The bend.
        left, right: The neighbouring bends, or the ends of the axis.
    """
    design = scanner.design(extra)
    x = setting.whitener.whiten(design / scanner.h[:, None])
    num_extra = extra.shape[1]
    precision = np.diag(scanner.precision(setting.amplitude, num_extra))
    covariance = np.linalg.inv(x.T @ x + precision)
    weights = covariance @ (x.T @ setting.whitener.whiten(y / scanner.h))
    free = scanner.free.shape[1]
    shown = design.copy()
    shown[:, free : free + num_extra][:, is_level] = 0.0
    curve = shown @ weights
    near = np.flatnonzero(np.abs(u - place) <= 0.08)
    before, after = (
        np.flatnonzero((u >= left) & (u < place)),
        np.flatnonzero((u <= right) & (u > place)),
    )
    if near.size < 3 or before.size < 2 or after.size < 2:
        return None
    best: Turn | None = None
    for sign in (1.0, -1.0):
        top = int(near[np.argmax(sign * curve[near])])
        a, b = before[np.argmin(sign * curve[before])], after[np.argmin(sign * curve[after])]
        if not a < top < b:
            continue
        strength = min(_height(shown, covariance, weights, setting, top, j, sign) for j in (a, b))
        if strength > SIDE and (best is None or strength > best.strength):
            best = Turn(float(u[top]), strength)
    return best


def _height(
    shown: Array, covariance: Array, weights: Array, setting: Setting, top: int, j: int, sign: float
) -> float:
    """How far the curve lies above (sign 1) its value at j when at top, in standard errors."""
    contrast = shown[top] - shown[j]
    error = setting.sigma * np.sqrt(max(float(contrast @ covariance @ contrast), 1e-300))
    return float(sign * (contrast @ weights) / error)
