"""Smooth curves without a transition, as columns of a linear model.

Losses and norms relax: their smooth parts are mixtures of exponential relaxations in training
time, a class that holds power laws, stretched exponentials (exponent up to 1) and curves linear in
log(step) as limits (Bernstein's theorem: the completely monotone functions). A second, small class
holds wide drifts of any form on the run's own axis. The columns carry independent Gaussian weights,
so that the fit is a ridge regression whose one amplitude the data choose.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

from devtrack.changepoints.axis import Axis

Array = npt.NDArray[np.floating]

RATES_PER_DECADE = 2  # neighbouring relaxations then overlap to 90 %: closer ones add nothing
DRIFT_LENGTH = 0.35  # wider than the widest transition (a quarter of the axis)
DRIFT_WAVES = 4
FASTEST = 5.0  # highest rate, per shortest gap: gone at the second snapshot


def level_columns(u: Array) -> Array:
    """Return the columns whose weights are free: a level and a slope on the axis, (point, 2)."""
    return np.column_stack([np.ones_like(u), u - 0.5])


def trend_columns(step: Array, axis: Axis) -> Array:
    """Return the columns of relaxations and drifts, (point, column), each of range about 1.

    Args:
        step: Optimizer steps, ascending, shape (point,).
        axis: The run's axis.
    """
    return np.hstack([_relaxations(step), _drifts(axis.fraction(step))])


def relaxation_columns(step: Array, values: Array, h: Array, *, extra: Array) -> Array:
    """Return the relaxations that a curve made of decays of one sign needs, (point, few).

    A non-negative least-squares fit picks them: however steep the curve, a mixture of decays cannot
    imitate a level change, so these columns may have free weights without hiding one.

    Args:
        step: Optimizer steps, ascending, shape (point,).
        values: The curve, shape (point,).
        h: Relative noise, shape (point,).
        extra: Columns with weights of either sign, (point, column).
    """
    decays = _relaxations(step) / h[:, None]
    either = np.column_stack([np.ones_like(values), extra]) / h[:, None]
    basis, _ = np.linalg.qr(either)
    project = lambda a: a - basis @ (basis.T @ a)  # noqa: E731
    target, columns = project(values / h), project(decays)
    fits = [nnls(columns, sign * target) for sign in (1.0, -1.0)]
    weights = min(fits, key=lambda fit: fit[1])[0]
    return decays[:, weights > 0] * h[:, None]


def rough_trend(step: Array, u: Array, values: Array, h: Array) -> Array:
    """Return a first smooth fit, for cleaning only: relaxations and a cubic, (point,)."""
    cubic = np.column_stack([u - 0.5, (u - 0.5) ** 2, (u - 0.5) ** 3])
    decays = relaxation_columns(step, values, h, extra=cubic)
    x = np.column_stack([np.ones_like(u), cubic, decays]) / h[:, None]
    weights = np.linalg.lstsq(x, values / h, rcond=1e-10)[0]
    return (x @ weights) * h


def _relaxations(step: Array) -> Array:
    elapsed = step - step[0]
    total = elapsed[-1]
    gap = float(np.min(np.diff(step)))
    low, high = np.log10(0.3 / total), np.log10(FASTEST / gap)
    num = max(2, int(np.ceil((high - low) * RATES_PER_DECADE)) + 1)
    rates = np.logspace(low, high, num)
    return np.exp(-np.outer(elapsed, rates))


def _drifts(u: Array) -> Array:
    """Cosines weighted by the spectrum of a squared-exponential kernel of ``DRIFT_LENGTH``."""
    wave = np.pi * np.arange(1, DRIFT_WAVES + 1)
    weight = np.exp(-0.25 * (wave * DRIFT_LENGTH) ** 2)
    return np.cos(np.outer(u, wave)) * weight
