"""Smooth curves without a transition, as columns of a linear model.

Losses and norms relax: their smooth parts are mixtures of exponential relaxations in training
time, a class that holds power laws, stretched exponentials (exponent up to 1) and curves linear in
log(step) as limits (Bernstein's theorem: the completely monotone functions).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import lsq_linear, nnls

from devtrack.changepoints.inertia import Start, rolls

Array = npt.NDArray[np.floating]

RATES_PER_DECADE = 3  # a rate between two of the grid is then met to 1 % by its neighbours
SLOWEST = 0.05  # lowest rate, per length of the run: a straight line in training time
SLACK = 0.6
FREE = 1e6  # prior standard deviation of a weight without a prior, in noise units
FASTEST = 5.0  # highest rate, per shortest gap: gone at the second snapshot


class Trend(NamedTuple):
    """The smooth part of one series: a fitted mixture of relaxations and how far it may be off.

    Args:
        columns: The relaxations in the mixture, each at its fitted size, (point, column).
        sd: Prior standard deviation of each column's further weight, (column,).
        offset: The mixture, (point,).
    """

    columns: Array
    sd: Array
    offset: Array


def relaxations(decays: Array, values: Array, h: Array, *, extra: Array) -> Trend:
    """Fit a curve made of decays of one sign, and say how far each may be off.

    A non-negative least-squares fit picks the decays. However steep the curve, a mixture of decays
    of one sign cannot imitate a level change or a turning point; free weights could, so the weights
    stay near the fit: their prior standard deviation is ``SLACK`` times their size.

    Args:
        decays: What the mixture may be made of (``decay_columns``), (point, column).
        values: The curve, shape (point,).
        h: Relative noise, shape (point,).
        extra: Columns with weights of either sign, (point, column).
    """
    either = np.column_stack([np.ones_like(values), extra]) / h[:, None]
    basis, _ = np.linalg.qr(either)

    def rest(a: Array) -> Array:
        return a - basis @ (basis.T @ a)

    target, columns = rest(values / h), rest(decays / h[:, None])
    fits = [(sign, *_non_negative(columns, sign * target)) for sign in (1.0, -1.0)]
    sign, weights, _ = min(fits, key=lambda fit: fit[2])
    active = decays[:, weights > 0] * (sign * weights[weights > 0])
    return Trend(active, np.full(active.shape[1], SLACK), active.sum(axis=1))


def straight(u: Array) -> Trend:
    """Return a straight line over the axis as a trend: what bends are told on.

    Args:
        u: Positions on the axis, (point,).
    """
    return Trend((u - 0.5)[:, None], np.array([FREE]), np.zeros_like(u))


def rough_trend(decays: Array, u: Array, values: Array, h: Array) -> Array:
    """Return a first smooth fit, for cleaning only: relaxations and a cubic, (point,)."""
    cubic = np.column_stack([u - 0.5, (u - 0.5) ** 2, (u - 0.5) ** 3])
    active = relaxations(decays, values, h, extra=cubic).columns
    x = np.column_stack([np.ones_like(u), cubic, active]) / h[:, None]
    weights = np.linalg.lstsq(x, values / h, rcond=1e-10)[0]
    return (x @ weights) * h


def _non_negative(columns: Array, target: Array) -> tuple[Array, float]:
    """Return non-negative least-squares weights and the norm of what they leave."""
    try:
        weights, left = nnls(columns, target)
    except RuntimeError:  # the active set went in circles: neighbouring relaxations are alike
        weights = np.asarray(lsq_linear(columns, target, bounds=(0.0, np.inf)).x)
        left = np.linalg.norm(target - columns @ weights)
    return weights, float(left)


def decay_columns(step: Array, starts: Sequence[Start] = ()) -> Array:
    """Return relaxations of all rates, and how balls roll after the starts, (point, column).

    Args:
        step: Optimizer steps, ascending, shape (point,).
        starts: Where an optimizer with momentum started.
    """
    elapsed = step - step[0]
    total = elapsed[-1]
    gap = float(np.min(np.diff(step)))
    low, high = np.log10(SLOWEST / total), np.log10(FASTEST / gap)
    num = max(2, int(np.ceil((high - low) * RATES_PER_DECADE)) + 1)
    rates = np.logspace(low, high, num)
    parts = [np.exp(-np.outer(elapsed, rates))]
    return np.hstack([*parts, *(rolls(step, start, rates) for start in starts)])
