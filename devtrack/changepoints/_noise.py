"""What the noise of a series is like: its profile along the run, its correlation, and more.

Besides the noise there is the error of our shapes: no real change is a perfect logistic, no real
trend a perfect mixture of relaxations. On a training loss without measurement noise this error is
all there is. A detector that takes it for signal finds ten transitions where there are two.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.ndimage import uniform_filter1d

from devtrack.changepoints.config import NoiseConfig

Array = npt.NDArray[np.floating]

LOG_SCATTER = 1.11  # standard deviation of log |z| of a normal z


def reported_errors(se: Array) -> Array:
    """Return standard errors averaged over neighbours, without zeros and extremes.

    A standard error is itself an estimate, and it depends on the value. A binomial accuracy that is
    1 by luck reports 0, which would give that point all the weight.

    Args:
        se: As reported, by step, some above 0, else NaN, infinite or 0: not known, (point,).
    """
    known = np.isfinite(se) & (se > 0)
    middle = float(np.median(se[known]))
    variance = uniform_filter1d(np.where(known, se, 0.0) ** 2, size=5, mode="nearest")
    variance = np.maximum(variance, 0.0)  # a running sum that ends in zeros may round below them
    return np.clip(np.sqrt(variance), 0.2 * middle, 10 * middle)


def whiten(columns: Array, index: npt.NDArray[np.integer], phi: float) -> Array:
    """Turn AR(1) noise of unit variance into white noise, exactly.

    Args:
        columns: Shape (point,) or (point, column).
        index: Numbers of the snapshots, ascending: a missing snapshot is a longer lag.
        phi: Correlation of neighbouring snapshots.
    """
    return Whitening.of(index, phi)(columns)


class Whitening(NamedTuple):
    """What ``whiten`` takes from the snapshots and their correlation alone.

    Shapes:
        lag, spread: (point - 1,), the correlation with the point before, and what it leaves; None
            if there is no correlation.
    """

    lag: Array | None
    spread: Array | None

    @classmethod
    def of(cls, index: npt.NDArray[np.integer], phi: float) -> Whitening:
        """Take the arguments of ``whiten``."""
        if phi == 0:
            return cls(None, None)
        lag = phi ** np.diff(index)
        return cls(lag, np.sqrt(1 - lag**2))

    def __call__(self, columns: Array) -> Array:
        """Whiten columns, (point,) or (point, column)."""
        if self.lag is None or self.spread is None:
            return columns
        lag, spread = self.lag, self.spread
        if columns.ndim == 2:
            lag, spread = lag[:, None], spread[:, None]
        out = np.empty_like(columns, dtype=float)
        out[0] = columns[0]
        rest = out[1:]
        np.multiply(lag, columns[:-1], out=rest)
        np.subtract(columns[1:], rest, out=rest)
        np.divide(rest, spread, out=rest)
        return out


def log_jacobian(index: npt.NDArray[np.integer], phi: float) -> float:
    """Return the log determinant of ``whiten``."""
    return -0.5 * float(np.sum(np.log(1 - phi ** (2 * np.diff(index))))) if phi > 0 else 0.0


def shape_error(u: Array, fit: Array, config: NoiseConfig) -> Array:
    """Return how far the fit may be off because its shapes are ideal ones, (point,)."""
    low = np.searchsorted(u, u - config.nearby)
    high = np.searchsorted(u, u + config.nearby, side="right")
    moved = np.array([np.ptp(fit[a:b]) for a, b in zip(low, high, strict=True)])
    return config.shape_error * moved


def profile(u: Array, y: Array, h: Array, config: NoiseConfig, *, se_known: bool) -> Array:
    """Return ``h`` bent so that it follows the scatter of the points about their neighbours.

    A ridge regression of log |scatter| on the position and its square; the ridge keeps the profile
    as it was unless the data speak clearly.

    Args:
        u: Positions on the axis, ascending, shape (point,).
        y: Values, shape (point,).
        h: Noise as reported, or ones, shape (point,).
        config: What the noise of a series is taken for.
        se_known: Whether ``h`` was reported.
    """
    if u.size < 12:
        return h
    left, right = u[1:-1] - u[:-2], u[2:] - u[1:-1]
    share = right / (left + right)
    scatter = np.abs(y[1:-1] - share * y[:-2] - (1 - share) * y[2:])
    scatter /= h[1:-1] * np.sqrt(1 + share**2 + (1 - share) ** 2)
    middle = float(np.median(scatter))
    if middle == 0.0:
        return h
    target = np.log(np.clip(scatter / middle, 0.1, 10.0))
    x = np.column_stack([np.ones_like(u), u - 0.5, 6 * (u - 0.5) ** 2 - 0.5])
    sd = config.slope_sd_known if se_known else config.slope_sd_unknown
    penalty = LOG_SCATTER**2 * np.array([0.0, 1 / sd**2, 4 / sd**2])
    inner = x[1:-1]
    weights = np.linalg.solve(inner.T @ inner + np.diag(penalty), inner.T @ target)
    bent = np.exp(x[:, 1:] @ weights[1:])
    return h * bent / np.exp(np.mean(np.log(bent)))
