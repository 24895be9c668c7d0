"""One series up to now, made ready for the live detector: noise known, spikes cut, past binned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from devtrack.changepoints._noise import reported_errors
from devtrack.changepoints._preprocessing import cut_spikes, roughness
from devtrack.changepoints.config import OnlineDetectorConfig

Array = npt.NDArray[np.floating]

NOISE_PER_SECOND_DIFFERENCE = 1.4826 / 6**0.5  # robust; second differences of white noise


class HistoryWindow(NamedTuple):
    """The points of one series on a run's grid.

    Args:
        step: Optimizer steps, ascending; a bin has its mean, (point,).
        value: Values in units of a typical ``noise_sd``, (point,).
        noise_sd: Standard deviation of the noise up to a common factor, (point,).
        number: Numbers of the snapshots in the run's grid: neighbours differ by 1, (point,).
        se_known: Whether ``noise_sd`` are reported standard errors.
        noise_observable: Whether the series tells how large a change must be to be real: it has
            standard errors, or its noise can be seen.
    """

    step: Array
    value: Array
    noise_sd: Array
    number: Array
    se_known: bool
    noise_observable: bool


def history_window(
    points: Sequence[tuple[int, float, float]], grid: Array, config: OnlineDetectorConfig
) -> HistoryWindow | None:
    """Return a series up to now; None when too little is known to judge it.

    Args:
        points: (step, value, standard error or NaN), by step, values finite.
        grid: Steps of all snapshots, ascending.
        config: The detector's constants.
    """
    step, y, se = np.array(points, float).T  # (point,) each
    se_known = bool(np.mean(np.isfinite(se)) >= 0.5 and np.any(se > 0))
    if step.size < (config.min_points_known if se_known else config.min_points_unknown):
        return None
    h = reported_errors(se) if se_known else _visible(y)
    if np.ptp(y) <= 1e-12 * np.max(np.abs(y)) or not np.all(h > 0):
        return None
    noise_observable = se_known or _shows_noise(y, config)
    index = np.searchsorted(grid, step).astype(float)
    step, y, h, index = _bin(step, _without_spikes(y, h, config.num_newest), h, index, config)
    unit = float(np.median(h))
    return HistoryWindow(step, y / unit, h / unit, index, se_known, noise_observable)


def _visible(y: Array) -> Array:
    bend = np.diff(y, n=2)
    sigma = NOISE_PER_SECOND_DIFFERENCE * float(np.median(np.abs(bend - np.median(bend))))
    return np.full(y.size, sigma)


def _shows_noise(y: Array, config: OnlineDetectorConfig) -> bool:
    """Say whether the past, before a recent change could begin, is rough."""
    recent = config.num_recent
    past = y[:-recent] if y.size >= config.min_points_unknown + recent else y
    return roughness(past, config.noise, quantile=0.5) > config.min_roughness


def _without_spikes(y: Array, h: Array, num_newest: int) -> Array:
    """Cut spikes, but not at the end, where a spike and a change still look alike."""
    cut = cut_spikes(y, h)
    cut[-num_newest:] = y[-num_newest:]
    return cut


def _bin(
    step: Array, y: Array, h: Array, index: Array, config: OnlineDetectorConfig
) -> tuple[Array, Array, Array, Array]:
    """Average old points in bins that grow with age: a long run costs no more than a short one."""
    single = config.num_single
    sizes, left, size = [1] * min(single, step.size), step.size - single, 2
    while left > 0:
        of_size = min(config.bins_per_size, -(-left // size))
        sizes += [size] * of_size
        left -= size * of_size
        size *= 2
    label = np.repeat(np.arange(len(sizes)), sizes)[: step.size][::-1]
    label = label[0] - label  # oldest first
    count = np.bincount(label)
    step, y, index = (np.bincount(label, column) / count for column in (step, y, index))
    return step, y, np.sqrt(np.bincount(label, h**2)) / count, index
