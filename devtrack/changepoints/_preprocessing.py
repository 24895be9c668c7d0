"""A series made ready for the fit: sorted, one point per step, noise profile known, spikes cut."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import median_filter

from devtrack.changepoints._momentum_transient import OptimizerStart
from devtrack.changepoints._noise import profile, reported_errors
from devtrack.changepoints._step_scale import Axis
from devtrack.changepoints._trend import exponential_basis, rough_trend
from devtrack.changepoints.config import DetectorConfig, NoiseConfig
from devtrack.series import Series

Array = npt.NDArray[np.floating]

MIN_POINTS = 10  # fewer cannot tell a sigmoid (3 numbers) from a trend (3) and noise (2)


@dataclass(frozen=True, eq=False)
class PreparedSeries:
    """A cleaned series on its run's axis.

    Args:
        metric: Name of the quantity.
        site: Where it was taken.
        index: Number of the snapshot in the run's own grid.
        step: Optimizer steps completed, ascending, no repeats.
        position: Position on the axis.
        value: Values with spikes cut, centred, in units of ``scale``.
        noise_sd: Standard deviation of the noise up to an unknown common factor.
        scale: Unit of ``value`` in the units of the metric.
        se_known: Whether ``noise_sd`` are reported standard errors (the factor is then near 1).
        shows_noise: Whether the noise is reported or can be seen.
        decays: What its smooth trend may be made of.

    Shapes:
        index, step, position, value, noise_sd: (point,); decays: (point, column).
    """

    metric: str
    site: str
    index: npt.NDArray[np.int64]
    step: Array
    position: Array
    value: Array
    noise_sd: Array
    scale: float
    se_known: bool
    shows_noise: bool
    decays: Array


def prepare_series(
    series: Series,
    axis: Axis,
    grid: Array,
    config: DetectorConfig,
    *,
    starts: Sequence[OptimizerStart] = (),
) -> PreparedSeries | None:
    """Clean one series; None when too little is left to judge it.

    Args:
        series: The series as measured.
        axis: The run's axis.
        grid: All steps of the run's snapshots, ascending.
        config: The detector's constants.
        starts: Where an optimizer with momentum started.
    """
    unit = _unit(series.value)
    if unit is None:
        return None
    step, y, se = _tidy(series, unit)
    if step.size < MIN_POINTS:
        return None
    step, y, se = _bin(step, y, se, config.noise.max_points)
    u = axis.fraction(step)
    se_known = bool(np.mean(se > 0) >= 0.5)
    h = reported_errors(se) if se_known else np.ones_like(y)
    decays = exponential_basis(step, config.trend, starts)
    rest, cut = _without_spikes(y, h, lambda tame: rough_trend(decays, u, tame, h, config.trend))
    y, moved = y + (cut - rest), np.abs(cut - rest)
    h = profile(u, cut, h, config.noise, se_known=se_known)
    # a point that was cut is not trusted: it may have been the corner of a change after all
    h = np.hypot(h, moved if se_known else moved / _visible_noise(cut))
    # of a curve that is flat but for one fall the median deviation is next to nothing
    spread = max(float(np.median(np.abs(y - np.median(y)))), 0.2 * float(np.std(y)))
    scale = float(np.median(h)) if se_known else spread
    index = np.searchsorted(grid, step).astype(np.int64)
    y, h = (y - np.mean(y)) / scale, h / (scale if se_known else 1.0)
    shows_noise = se_known or roughness(y, config.noise) > config.noise.min_roughness
    name = (series.metric, series.site)
    return PreparedSeries(*name, index, step, u, y, h, scale * unit, se_known, shows_noise, decays)


def _without_spikes(y: Array, h: Array, trend: Callable[[Array], Array]) -> tuple[Array, Array]:
    """Return the values beside their rough trend, as they are and with spikes cut.

    A point is cut if it stands alone both beside the trend and in the curve itself. Beside a trend
    that a level change bends, the corners of the change stand alone as well. On a steep curve the
    points at its ends do. The second round uses a trend that spikes no longer distort. Tall spikes,
    and single points far beyond both neighbours, distort the first trend if there are few points
    around.
    """
    cut = cut_spikes(y, h)
    alone = cut != y
    rest = y - trend(y)
    tame = y + np.where(alone, cut_spikes(rest, h), rest) - rest
    tame = np.where(alone & _is_spike(y), cut, tame)
    rest = y - trend(tame)
    return rest, np.where(alone, cut_spikes(rest, h), rest)


def _is_spike(y: Array) -> npt.NDArray[np.bool_]:
    """Say which points lie twice as far beyond both neighbours as these lie from theirs."""
    slope = np.diff(y, prepend=y[0], append=y[-1])  # into each point, and out of the last
    before, into, out, after = (slope[k : k + y.size - 2] for k in range(4))
    beyond = np.minimum(np.abs(into), np.abs(out)) * (into * out < 0)
    return np.pad(beyond > 2 * np.maximum(np.abs(before), np.abs(after)), 1)


def _visible_noise(y: Array) -> float:
    """Return the spread of second differences as the standard deviation of white noise."""
    return max(1.4826 * float(np.median(np.abs(np.diff(y, n=2)))) / np.sqrt(6), 1e-300)


def roughness(y: Array, config: NoiseConfig, *, quantile: float = 0.7) -> float:
    """Return the ratio of the squared spreads of second and first differences.

    White noise has 3, AR(1) noise of correlation phi 3 - phi, a random walk 2, a smooth curve 0.
    Only a series with observable noise says how large a change must be to be real. The
    spread is a quantile that leaves out jumps and steep parts, and wastes less of a short series
    than the median would. Where many values repeat (counts, an accuracy on few examples) first and
    second differences share their quantiles: there it is their trimmed root mean square.

    Args:
        y: Values, shape (point,).
        config: What the noise of a series is taken for.
        quantile: Of the differences' sizes, which is taken for their spread.
    """
    first, second = np.diff(y), np.diff(y, n=2)
    if np.mean(first == 0) > config.repeated_share:
        spread = [_trimmed_spread(d, config.trimmed_share) for d in (first, second)]
    else:
        spread = [float(np.quantile(np.abs(d - np.median(d)), quantile)) for d in (first, second)]
    return (spread[1] / spread[0]) ** 2 if spread[0] > 0 else 0.0


def _trimmed_spread(differences: Array, share: float) -> float:
    """Return the root mean square of all but the largest differences."""
    size = np.sort(np.abs(differences))
    return float(np.sqrt(np.mean(size[: int(np.ceil(share * size.size))] ** 2)))


def _unit(value: Array) -> float | None:
    """Return the range of the values, in which what follows does not depend on their unit.

    None where they do not vary, or only by rounding.
    """
    finite = value[np.isfinite(value)]
    if finite.size == 0:
        return None
    half = float(0.5 * np.max(finite) - 0.5 * np.min(finite))  # by halves: no overflow
    return 2 * half if 2e12 * half > np.max(np.abs(finite)) and 2 * half < np.inf else None


def _tidy(series: Series, unit: float) -> tuple[Array, Array, Array]:
    """Drop what is not finite, average repeated steps, sort; in the unit given."""
    keep = np.isfinite(series.value)
    steps, inverse, count = np.unique(series.step[keep], return_inverse=True, return_counts=True)
    value, se = series.value[keep] / unit, series.se[keep] / unit
    value = np.bincount(inverse, value, steps.size) / np.maximum(count, 1)
    variance = np.bincount(inverse, se**2, steps.size) / np.maximum(count, 1) ** 2
    return steps.astype(np.float64), value, np.sqrt(variance)


def _bin(step: Array, y: Array, se: Array, most: int) -> tuple[Array, Array, Array]:
    """Average neighbours until at most ``most`` are left."""
    size = -(-step.size // most)
    if size == 1:
        return step, y, se
    label = np.arange(step.size) // size
    count = np.bincount(label)
    means = [np.bincount(label, a) / count for a in (step, y, se)]
    return means[0], means[1], means[2] / np.sqrt(count)


def cut_spikes(y: Array, h: Array, *, window: int = 7, limit: float = 4.0) -> Array:
    """Pull points that stand alone back to the median of their neighbours (Hampel filter).

    A level change survives a running median, a spike of up to three snapshots does not. So spikes
    and heavy tails lose their influence on the fit, and transitions keep theirs.

    Args:
        y: Values, shape (point,).
        h: Relative noise, shape (point,).
        window: Points under the running median.
        limit: How many robust standard deviations are left to stand.
    """
    middle = median_filter(y, size=min(window, y.size), mode="nearest")
    deviation = (y - middle) / h
    sigma = 1.4826 * float(np.median(np.abs(deviation)))
    if sigma == 0.0:
        return y
    # a moving curve leaves its running median at the ends of the window; its own slope is allowed
    slope = np.abs(median_filter(np.gradient(y), size=min(window, y.size), mode="nearest"))
    bound = limit * sigma * h + 2.0 * slope
    return np.where(np.abs(y - middle) > bound, middle, y)
