"""How much better "something began to change" explains the recent past of a series than "smooth".

The model without a change is a Gaussian process. It consists of a fitted mixture of relaxations of
one sign, small deviations from it, and noise that may be correlated. Written as a Cholesky factor
it
predicts every snapshot from those before it, and the whitened values are the standardised
prediction errors. A change that began at some snapshot adds a ramp, a sigmoid or a jump of unknown
size from there on. The Bayes factor of both models needs one projection per candidate.

Unknown properties of the series are fitted or averaged over under either model. They are the
steepness of its trend, and the correlation and size of its noise. A few wild
points at the end are part of the model without a change too, at a price.

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
from devtrack.changepoints._trend import (
    RelaxationBasis,
    exponential_basis,
    fit_relaxations,
    scaled_by,
)
from devtrack.changepoints.config import OnlineDetectorConfig
from devtrack.changepoints.online._window import HistoryWindow

Array = npt.NDArray[np.floating]


class LogBayesFactor(NamedTuple):
    """What one series says about a change at each candidate onset.

    Args:
        log_odds: Log Bayes factor of the change against the model without a change, (onset,).
        sign: Direction of the change, +1 or -1, (onset,).
    """

    log_odds: Array
    sign: Array


def log_bayes_factor(
    window: HistoryWindow,
    x: Array,
    config: OnlineDetectorConfig,
    *,
    now: float,
    onset: Array,
    event_effects: Array,
    starts: Sequence[OptimizerStart] = (),
) -> LogBayesFactor:
    """Weigh a change at each candidate onset against the model without a change.

    Args:
        window: The series up to now.
        x: Positions of its points on the run's axis, in any unit, (point,).
        config: The detector's constants.
        now: Position of the newest snapshot.
        onset: Positions before ``now`` after which a change may have set in, (onset,).
        event_effects: What known events may have left on the curve, (point, column).
        starts: Where an optimizer with momentum started.
    """
    shapes, owner = _shapes(x, now, onset)
    trend = _TrendCovariance(window, x, config, event_effects, starts)
    smooth, changed, along = [], [], []  # one entry per model of the noise and the trend
    for phi in config.correlations:
        for sd in config.trend_sds:
            model = _whiten(window, trend, shapes, config, phi=phi, sd=sd)
            smooth.append(model.smooth())
            changed.append(model.changed())
            along.append(model.along)
    table = np.array(changed)  # (model, shape)
    per_shape = np.logaddexp.reduce(table, axis=0) - np.logaddexp.reduce(smooth)
    lean = np.array(along)[np.argmax(table, axis=0), np.arange(owner.size)]  # (shape,)
    odds, sign = np.empty(onset.size), np.empty(onset.size)
    for k in range(onset.size):
        mine = np.flatnonzero(owner == k)
        odds[k] = np.logaddexp.reduce(per_shape[mine]) - np.log(mine.size)
        sign[k] = np.sign(lean[mine[np.argmax(per_shape[mine])]])
    return LogBayesFactor(odds, sign)


class _TrendCovariance:
    """The model without a change's covariances, in noise units.

    Attributes:
        h: Noise, with the error of ideal shapes, (point,).
        fixed: Of the offset, the event effects and the fitted relaxations, (point, point).
        loose: Of what the fit may have missed, for a unit prior size, (point, point).
        fitted: Numbers that were fitted, which the noise must be estimated without.
    """

    def __init__(
        self,
        window: HistoryWindow,
        x: Array,
        config: OnlineDetectorConfig,
        event_effects: Array,
        starts: Sequence[OptimizerStart],
    ) -> None:
        reach = max(float(np.ptp(window.value)), 1.0)
        self.h = np.hypot(window.noise_sd, config.shape_error * reach)
        scaled = scaled_by(self.h)
        basis = RelaxationBasis.of(exponential_basis(window.step, config.trend, starts), scaled)
        fitted = fit_relaxations(basis, window.value, scaled, config.trend, extra=event_effects)
        decays = config.relaxation_slack * fitted.columns
        # a slow decay beside a mark is all but nothing, and its fitted size without bounds
        size = np.max(np.abs(decays), axis=0, initial=1e-300)
        decays = decays * np.minimum(1.0, 30 * reach / size)
        self.fixed = (
            (3 * reach) ** 2
            + config.events.effect_sd**2 * (event_effects @ event_effects.T)
            + decays @ decays.T
        )
        drift = (x - x[0]) / (x[-1] - x[0])
        rates = _rates(window.step, config.missed_rates_per_decade)
        missed = [np.exp(-np.outer(window.step - window.step[0], rates))]
        missed += [heavy_ball_response(window.step, start, rates) for start in starts]
        columns = np.column_stack([*missed, drift])
        self.loose = columns @ columns.T
        self.fitted = 1 + decays.shape[1] + event_effects.shape[1]


class _WhitenedModel(NamedTuple):
    """A series and the shapes of its possible changes, as seen after a smooth past.

    Args:
        z: Standardised prediction errors, (point,).
        log_sd: Log standard deviations of the predictions, (point,).
        along: Products of the whitened shapes with ``z``, (shape,).
        energy: Squared norms of the whitened shapes, (shape,).
        freedom: Snapshots' worth of belief that the noise is as reported.
        fitted: Numbers that the trend has taken from the data.
        floor: Least noise variance, relative to ``h ** 2``.
        config: The detector's constants.
    """

    z: Array
    log_sd: Array
    along: Array
    energy: Array
    freedom: float
    fitted: int
    floor: float
    config: OnlineDetectorConfig

    def smooth(self) -> float:
        """Return the log likelihood that nothing began, the newest points wild or not."""
        outlier = np.log(self.config.outlier_share / self.config.outlier_range)
        outlier = float(outlier + 0.5 * np.log(2 * np.pi))
        models = [self._likelihood(self._total) - self.log_sd.sum()]
        for m in range(1, min(self.config.max_outliers, self.z.size - 1) + 1):
            tame = self._likelihood(self._total - self.z[-m:] @ self.z[-m:], without=m)
            models.append(tame - self.log_sd[:-m].sum() + m * outlier)
        return float(np.logaddexp.reduce(models))

    def changed(self) -> Array:
        """Return the log likelihoods of the changes, (shape,), averaged over their sizes."""
        sizes = [
            self._likelihood(self._total - size**2 * self.along**2 / (1 + size**2 * self.energy))
            - 0.5 * np.log1p(size**2 * self.energy)
            for size in self.config.change_sds
        ]
        return np.logaddexp.reduce(sizes) - np.log(len(sizes)) - self.log_sd.sum()

    @property
    def _total(self) -> float:
        return float(self.z @ self.z) + self.freedom

    def _likelihood(self, total: npt.ArrayLike, *, without: int = 0) -> Array:
        """Return the log likelihood at the best noise variance that is not below the floor."""
        count = max(self.z.size - self.fitted - without, 2) + self.freedom
        variance = np.maximum(np.asarray(total, float) / count, self.floor)
        return -0.5 * count * np.log(variance) - 0.5 * np.asarray(total, float) / variance


def _whiten(
    window: HistoryWindow,
    trend: _TrendCovariance,
    shapes: Array,
    config: OnlineDetectorConfig,
    *,
    phi: float,
    sd: float,
) -> _WhitenedModel:
    lag = np.abs(window.number[:, None] - window.number[None, :])
    noise = np.outer(trend.h, trend.h) * (phi**lag if phi else np.eye(lag.shape[0]))
    factor = np.linalg.cholesky(noise + sd**2 * trend.loose + trend.fixed)
    columns = np.column_stack([window.value - np.median(window.value), shapes])
    white = solve_triangular(factor, columns, lower=True, check_finite=False)
    z, ramps = white[:, 0], white[:, 1:]
    least = config.min_noise_known if window.se_known else config.min_noise_unknown
    return _WhitenedModel(
        z,
        np.log(np.diag(factor)),
        along=z @ ramps,
        energy=np.einsum("ij,ij->j", ramps, ramps),
        freedom=config.prior_points_known if window.se_known else config.prior_points_unknown,
        fitted=trend.fitted,
        floor=least**2,
        config=config,
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


def _rates(step: Array, per_decade: int) -> Array:
    low, high = np.log10(0.3 / np.ptp(step)), np.log10(2.0 / float(np.min(np.diff(step))))
    num = max(2, int(np.ceil((high - low) * per_decade)) + 1)
    return np.logspace(low, high, num)
