"""What the noise of a series is like: its correlation and its profile along the run.

Correlation: every setting is a stationary process, white noise mixed with an AR(1) process (an
estimate has its own error, and training wanders on top of it). Profile: reported standard errors
tell how the noise changes along the run; where there are none, the scatter of each point about its
two neighbours does.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.linalg import solve_triangular

Array = npt.NDArray[np.floating]


class Correlation(NamedTuple):
    """A stationary noise of unit variance.

    Args:
        phi: Correlation of neighbouring snapshots in the AR(1) part.
        share: Share of the AR(1) part in the variance; the rest is white.
    """

    phi: float
    share: float = 1.0

    @property
    def log_prior(self) -> float:
        """Log prior weight: strongly correlated noise is rare and hard to tell from change."""
        return float(np.log1p(-self.phi))


CORRELATIONS = (
    Correlation(0.0),
    Correlation(0.2),
    Correlation(0.4),
    Correlation(0.6),
    Correlation(0.8),
    Correlation(0.92),
    Correlation(0.6, 0.4),
    Correlation(0.8, 0.4),
    Correlation(0.92, 0.4),
)


class Whitener:
    """Turns noise of one correlation into white noise of unit variance.

    Args:
        index: Numbers of the snapshots, ascending: a missing snapshot is a longer lag.
        correlation: The noise.
    """

    def __init__(self, index: npt.NDArray[np.integer], correlation: Correlation) -> None:
        self.correlation = correlation
        self._root: Array | None = None
        self.log_jacobian = 0.0  # log determinant of the whitening map
        if correlation.phi > 0:
            lag = np.abs(index[:, None] - index[None, :])
            covariance = correlation.share * correlation.phi**lag
            np.fill_diagonal(covariance, 1.0)
            root = np.linalg.cholesky(covariance)
            self._root = root
            self.log_jacobian = -float(np.sum(np.log(np.diag(root))))

    def whiten(self, columns: Array) -> Array:
        """Return white columns, (point,) or (point, column)."""
        if self._root is None:
            return columns
        return solve_triangular(self._root, columns, lower=True, check_finite=False)

    def colour(self, white: Array) -> Array:
        """Undo ``whiten``."""
        return white if self._root is None else self._root @ white


PROFILE_SD_KNOWN = 0.4  # prior sd of the log noise's slope over the run beyond reported errors
PROFILE_SD_UNKNOWN = 1.0  # the same where nothing is reported
LOG_SCATTER = 1.11  # standard deviation of log |z| of a normal z


def profile(u: Array, y: Array, h: Array, *, se_known: bool) -> Array:
    """Return ``h`` bent so that it follows the scatter of the points about their neighbours.

    A ridge regression of log |scatter| on the position and its square; the ridge keeps the profile
    as it was unless the data speak clearly.

    Args:
        u: Positions on the axis, ascending, shape (point,).
        y: Values, shape (point,).
        h: Noise as reported, or ones, shape (point,).
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
    sd = PROFILE_SD_KNOWN if se_known else PROFILE_SD_UNKNOWN
    penalty = LOG_SCATTER**2 * np.array([0.0, 1 / sd**2, 4 / sd**2])
    inner = x[1:-1]
    weights = np.linalg.solve(inner.T @ inner + np.diag(penalty), inner.T @ target)
    bent = np.exp(x[:, 1:] @ weights[1:])
    return h * bent / np.exp(np.mean(np.log(bent)))
