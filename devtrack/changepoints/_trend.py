"""Smooth curves without a transition, as columns of a linear model.

Losses and norms relax: their smooth parts are mixtures of exponential relaxations in training time.
By Bernstein's theorem these are the completely monotone functions. Power laws, stretched
exponentials (exponent up to 1) and curves linear in log(step) are limits of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import lsq_linear, nnls

from devtrack.changepoints._momentum_transient import OptimizerStart, heavy_ball_response
from devtrack.changepoints.config import TrendConfig

Array = npt.NDArray[np.floating]

UNPENALIZED = 1e6  # prior standard deviation of a weight without a prior, in noise units


class Trend(NamedTuple):
    """What the smooth part of one series is made of: columns whose weights have mean zero.

    Args:
        columns: The relaxations of the mixture, each at its fitted size, (point, column).
        sd: Prior standard deviation of each column's weight, (column,).
    """

    columns: Array
    sd: Array


class RelaxationBasis(NamedTuple):
    """What a mixture may be made of, and the same in units of white noise.

    Shapes:
        columns, whitened: (point, column); length: (column,), of the centred and whitened columns.
    """

    columns: Array
    whitened: Array
    length: Array

    @classmethod
    def of(cls, columns: Array, whiten: Callable[[Array], Array]) -> RelaxationBasis:
        """Whiten columns (``exponential_basis``), (point, column)."""
        return cls(columns, whiten(columns), _lengths(whiten(columns - columns.mean(axis=0))))


def fit_relaxations(
    decays: RelaxationBasis,
    values: Array,
    whiten: Callable[[Array], Array],
    config: TrendConfig,
    *,
    extra: Array,
    extra_sd: Array | None = None,
) -> Trend:
    """Fit a curve made of decays of one sign, and say how large each may be.

    A non-negative least-squares fit picks the decays. However steep the curve, a mixture of decays
    of one sign cannot imitate a level change or a turning point. Free weights could. So their prior
    has mean 0 and a standard deviation of ``prior_scale`` times the fitted size. It is larger where
    more than ``max_free_components`` share in the mixture. A prior centred on the fitted weights
    would penalize changes that the fit had already absorbed.

    Args:
        decays: What the mixture may be made of.
        values: The curve, shape (point,).
        whiten: Turns values, (point,), or columns, (point, column), into units of white noise.
        config: What the smooth part of a series may be.
        extra: Columns with weights of either sign, (point, column).
        extra_sd: Prior standard deviations of those weights, (column,); free where ``UNPENALIZED``
            or more, or if None.

    Source:
        MacKay 1992, "Bayesian interpolation" (prior sizes learned from the data).
    """
    either = whiten(np.concatenate([np.ones((values.size, 1)), extra], axis=1))
    sd = np.full(extra.shape[1], UNPENALIZED) if extra_sd is None else extra_sd
    tied = np.flatnonzero(sd < UNPENALIZED)
    prior = np.zeros((tied.size, either.shape[1]))
    prior[np.arange(tied.size), 1 + tied] = 1 / sd[tied]
    basis, _ = np.linalg.qr(np.concatenate([either, prior]))

    def rest(a: Array) -> Array:
        if tied.size:
            a = np.concatenate([a, np.zeros((tied.size, *a.shape[1:]))])
        return a - basis @ (basis.T @ a)

    target, columns = rest(whiten(values)), rest(decays.whitened)
    columns[:, _lengths(columns) < config.min_visible_length * decays.length] = 0.0
    fits = [(sign, *_non_negative(columns, sign * target)) for sign in (1.0, -1.0)]
    sign, weights, _ = min(fits, key=lambda fit: fit[2])
    active = decays.columns[:, weights > 0] * (sign * weights[weights > 0])
    spread = config.prior_scale * np.sqrt(max(1.0, active.shape[1] / config.max_free_components))
    return Trend(active, np.full(active.shape[1], spread))


def linear_trend(u: Array) -> Trend:
    """Return a straight line over the axis as a trend, for kinks.

    Args:
        u: Positions on the axis, (point,).
    """
    return Trend((u - 0.5)[:, None], np.array([UNPENALIZED]))


def rough_trend(decays: Array, u: Array, values: Array, h: Array, config: TrendConfig) -> Array:
    """Return a first smooth fit, for cleaning only: relaxations and a cubic, (point,)."""
    cubic = np.column_stack([u - 0.5, (u - 0.5) ** 2, (u - 0.5) ** 3])
    scaled = scaled_by(h)
    basis = RelaxationBasis.of(decays, scaled)
    active = fit_relaxations(basis, values, scaled, config, extra=cubic).columns
    x = np.column_stack([np.ones_like(u), cubic, active]) / h[:, None]
    weights = np.linalg.lstsq(x, values / h, rcond=1e-6)[0]
    return (x @ weights) * h


def _lengths(columns: Array) -> Array:
    return np.sqrt(np.add.reduce(columns * columns, axis=0))


def scaled_by(h: Array) -> Callable[[Array], Array]:
    """Return what brings values and columns to units of white noise of standard deviation h.

    Args:
        h: Standard deviation, (point,).
    """
    return lambda a: a / (h[:, None] if a.ndim == 2 else h)


def _non_negative(columns: Array, target: Array) -> tuple[Array, float]:
    """Return non-negative least-squares weights and the norm of what they leave."""
    try:
        weights, left = nnls(columns, target)
    except RuntimeError:  # the active set went in circles: neighbouring relaxations are alike
        weights = np.asarray(lsq_linear(columns, target, bounds=(0.0, np.inf)).x)
        left = np.linalg.norm(target - columns @ weights)
    return weights, float(left)


def exponential_basis(
    step: Array, config: TrendConfig, starts: Sequence[OptimizerStart] = ()
) -> Array:
    """Return relaxations of all rates, and how balls roll after the starts, (point, column).

    Args:
        step: Optimizer steps, ascending, shape (point,).
        config: What the smooth part of a series may be.
        starts: Where an optimizer with momentum started.
    """
    elapsed = step - step[0]
    total = elapsed[-1]
    gap = float(np.min(np.diff(step)))
    low, high = np.log10(config.slowest / total), np.log10(config.fastest / gap)
    num = max(2, int(np.ceil((high - low) * config.rates_per_decade)) + 1)
    rates = np.logspace(low, high, num)
    parts = [np.exp(-np.outer(elapsed, rates))]
    return np.hstack([*parts, *(heavy_ball_response(step, start, rates) for start in starts)])
