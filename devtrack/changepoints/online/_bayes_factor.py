"""How much better "something began to change" explains the recent past of a series than "smooth".

The model without a change is a Gaussian process. It consists of a fitted mixture of relaxations of
one sign, small deviations from it, and noise that may be correlated. Written as a Cholesky factor
it
predicts every snapshot from those before it, and the whitened values are the standardised
prediction errors. A change that began at some snapshot adds a ramp, a sigmoid or a jump of unknown
size from there on. The Bayes factor of both models needs one projection per candidate.

Unknown properties of the series are fitted or averaged over under either model. They are the
steepness of its trend, and the correlation and size of its noise. A few wild
points at the end are part of the smooth story too, at a price.

Source:
    Willsky & Jones 1976 (likelihood ratio on whitened residuals); Rasmussen & Williams 2006, ch. 5.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.linalg import solve_triangular

from devtrack.changepoints._momentum_transient import OptimizerStart, heavy_ball_response
from devtrack.changepoints._trend import exponential_basis, fit_relaxations, scaled_by
from devtrack.changepoints.online._window import HistoryWindow

Array = npt.NDArray[np.floating]

CORRELATION = (0.0, 0.4)  # of the noise at neighbouring snapshots
TREND_SD = (0.5, 2.0)  # sizes of what the fitted relaxations may have missed, in noise units
SLACK = 0.6  # how far a fitted relaxation may be off, relative to its size
RATES_PER_DECADE = 2  # of the relaxations that were missed
SIZE = (4.0, 15.0)  # prior sizes of a change, in noise units
SHAPE_ERROR = 0.002  # of a curve's range: no real trend is a mixture of relaxations exactly
MARK_SD = 30.0  # prior size of a recipe's mark, in noise units
FLOOR_KNOWN = 0.8  # of the reported standard error: the noise is not believed to be less
FLOOR_UNKNOWN = 0.1  # of the visible noise
PRIOR_KNOWN, PRIOR_UNKNOWN = 8.0, 1.0  # snapshots' worth of belief in the first guess of the noise
MAX_OUTLIERS = 3  # so many newest points may be wild without anything having begun: a spike
# a wild point: one in 50, anywhere within 40 noise units
OUTLIER_LOG_PRIOR = float(np.log(0.02 / 40) + 0.5 * np.log(2 * np.pi))


class LogBayesFactor(NamedTuple):
    """What one series says about a change at each candidate onset.

    Args:
        log_odds: Log Bayes factor of the change against the smooth story, (onset,).
        sign: Direction of the change, +1 or -1, (onset,).
    """

    log_odds: Array
    sign: Array


def log_bayes_factor(
    window: HistoryWindow,
    x: Array,
    *,
    now: float,
    onset: Array,
    marks: Array,
    starts: Sequence[OptimizerStart] = (),
) -> LogBayesFactor:
    """Weigh a change at each candidate onset against the smooth story.

    Args:
        window: The series up to now.
        x: Positions of its points on the run's axis, in any unit, (point,).
        now: Position of the newest snapshot.
        onset: Positions before ``now`` after which a change may have set in, (onset,).
        marks: What the recipe's known changes may have left on the curve, (point, column).
        starts: Where an optimizer with momentum started.
    """
    shapes, owner = _shapes(x, now, onset)
    trend = _Trend(window, x, marks, starts)
    smooth, changed, along = [], [], []  # one entry per story of the noise and the trend
    for phi in CORRELATION:
        for sd in TREND_SD:
            story = _whiten(window, trend, shapes, phi=phi, sd=sd)
            smooth.append(story.smooth())
            changed.append(story.changed())
            along.append(story.along)
    table = np.array(changed)  # (story, shape)
    per_shape = np.logaddexp.reduce(table, axis=0) - np.logaddexp.reduce(smooth)
    lean = np.array(along)[np.argmax(table, axis=0), np.arange(owner.size)]  # (shape,)
    odds, sign = np.empty(onset.size), np.empty(onset.size)
    for k in range(onset.size):
        mine = np.flatnonzero(owner == k)
        odds[k] = np.logaddexp.reduce(per_shape[mine]) - np.log(mine.size)
        sign[k] = np.sign(lean[mine[np.argmax(per_shape[mine])]])
    return LogBayesFactor(odds, sign)


class _Trend:
    """The smooth story's covariances, in noise units.

    Attributes:
        h: Noise, with the error of ideal shapes, (point,).
        fixed: Of the offset, the recipe's marks and the fitted relaxations, (point, point).
        loose: Of what the fit may have missed, for a unit prior size, (point, point).
        fitted: Numbers that were fitted, which the noise must be estimated without.
    """

    def __init__(
        self, window: HistoryWindow, x: Array, marks: Array, starts: Sequence[OptimizerStart]
    ) -> None:
        reach = max(float(np.ptp(window.value)), 1.0)
        self.h = np.hypot(window.noise_sd, SHAPE_ERROR * reach)
        decays = exponential_basis(window.step, starts)
        decays = (
            SLACK * fit_relaxations(decays, window.value, scaled_by(self.h), extra=marks).columns
        )
        # a slow decay beside a mark is all but nothing, and its fitted size without bounds
        size = np.max(np.abs(decays), axis=0, initial=1e-300)
        decays = decays * np.minimum(1.0, 30 * reach / size)
        self.fixed = (3 * reach) ** 2 + MARK_SD**2 * (marks @ marks.T) + decays @ decays.T
        drift = (x - x[0]) / (x[-1] - x[0])
        rates = _rates(window.step)
        missed = [np.exp(-np.outer(window.step - window.step[0], rates))]
        missed += [heavy_ball_response(window.step, start, rates) for start in starts]
        columns = np.column_stack([*missed, drift])
        self.loose = columns @ columns.T
        self.fitted = 1 + decays.shape[1] + marks.shape[1]


class _Story(NamedTuple):
    """A series and the shapes of its possible changes, as seen after a smooth past.

    Args:
        z: Standardised prediction errors, (point,).
        log_sd: Log standard deviations of the predictions, (point,).
        along: Products of the whitened shapes with ``z``, (shape,).
        energy: Squared norms of the whitened shapes, (shape,).
        freedom: Snapshots' worth of belief that the noise is as reported.
        fitted: Numbers that the trend has taken from the data.
        floor: Least noise variance, relative to ``h ** 2``.
    """

    z: Array
    log_sd: Array
    along: Array
    energy: Array
    freedom: float
    fitted: int
    floor: float

    def smooth(self) -> float:
        """Return the log likelihood that nothing began, the newest points wild or not."""
        stories = [self._likelihood(self._total) - self.log_sd.sum()]
        for m in range(1, min(MAX_OUTLIERS, self.z.size - 1) + 1):
            tame = self._likelihood(self._total - self.z[-m:] @ self.z[-m:], without=m)
            stories.append(tame - self.log_sd[:-m].sum() + m * OUTLIER_LOG_PRIOR)
        return float(np.logaddexp.reduce(stories))

    def changed(self) -> Array:
        """Return the log likelihoods of the changes, (shape,), averaged over their sizes."""
        sizes = [
            self._likelihood(self._total - size**2 * self.along**2 / (1 + size**2 * self.energy))
            - 0.5 * np.log1p(size**2 * self.energy)
            for size in SIZE
        ]
        return np.logaddexp.reduce(sizes) - np.log(len(SIZE)) - self.log_sd.sum()

    @property
    def _total(self) -> float:
        return float(self.z @ self.z) + self.freedom

    def _likelihood(self, total: npt.ArrayLike, *, without: int = 0) -> Array:
        """Return the log likelihood at the best noise variance that is not below the floor."""
        count = max(self.z.size - self.fitted - without, 2) + self.freedom
        variance = np.maximum(np.asarray(total, float) / count, self.floor)
        return -0.5 * count * np.log(variance) - 0.5 * np.asarray(total, float) / variance


def _whiten(
    window: HistoryWindow, trend: _Trend, shapes: Array, *, phi: float, sd: float
) -> _Story:
    lag = np.abs(window.number[:, None] - window.number[None, :])
    noise = np.outer(trend.h, trend.h) * (phi**lag if phi else np.eye(lag.shape[0]))
    factor = np.linalg.cholesky(noise + sd**2 * trend.loose + trend.fixed)
    columns = np.column_stack([window.value - np.median(window.value), shapes])
    white = solve_triangular(factor, columns, lower=True, check_finite=False)
    z, ramps = white[:, 0], white[:, 1:]
    return _Story(
        z,
        np.log(np.diag(factor)),
        along=z @ ramps,
        energy=np.einsum("ij,ij->j", ramps, ramps),
        freedom=PRIOR_KNOWN if window.se_known else PRIOR_UNKNOWN,
        fitted=trend.fitted,
        floor=(FLOOR_KNOWN if window.se_known else FLOOR_UNKNOWN) ** 2,
    )


def _shapes(x: Array, now: float, onset: Array) -> tuple[Array, npt.NDArray[np.int64]]:
    """Return how a change may have gone since its onset, (point, shape), and of which onset."""
    columns, owner = [], []
    for k, start in enumerate(onset):
        since = int(np.sum(x > start))
        r = np.clip((x - start) / (now - start), 0.0, 1.0)
        columns.append((x > start).astype(float))
        owner.append(k)
        if since >= 2:
            columns += [r, _smoothstep(np.minimum(2 * r, 1.0))]
            owner += [k, k]
        if since >= 4:
            columns += [_smoothstep(r), r**2]
            owner += [k, k]
    return np.column_stack(columns), np.array(owner)


def _smoothstep(r: Array) -> Array:
    return r * r * (3 - 2 * r)


def _rates(step: Array) -> Array:
    low, high = np.log10(0.3 / np.ptp(step)), np.log10(2.0 / float(np.min(np.diff(step))))
    num = max(2, int(np.ceil((high - low) * RATES_PER_DECADE)) + 1)
    return np.logspace(low, high, num)
