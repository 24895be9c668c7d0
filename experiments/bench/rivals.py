"""What is used elsewhere to find changes in curves, each as a detector for the labelled benchmark.

Each takes a run and yields rows for the benchmark's scorer. Settings that their authors leave open
(penalties, depths, thresholds) are those with the best F1 on generated runs of seed 7, so that the
table compares methods and not defaults; ``ruptures, defaults`` is there to show what those are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import ruptures
from ruptures.base import BaseCost

from devtrack.changepoints._event_regressors import is_config_series
from devtrack.changepoints._step_scale import Axis, choose_axis
from devtrack.series import Series
from experiments.bench.gaussian import critical_points, slope_peaks
from experiments.bench.online_rivals import Run, bayesian

Detector = Callable[[Run], Iterable[dict[str, Any]]]
Array = npt.NDArray[np.floating]
Place = tuple[float, float, float]  # onset, middle and end, in steps

PLACES = 120  # that a run is resampled to
STEEPER = 2.0  # a piece than its neighbours, to be a change of level
TOGETHER = 0.04  # of the axis: series that change so near to each other do it once
NOISE_PER_SECOND_DIFFERENCE = 1.4826 / 6**0.5  # robust; second differences of white noise


class Even(NamedTuple):
    """A run on an even grid of its own axis (logarithmic where its schedule is).

    Args:
        u: Positions on the axis, (place,).
        values: The series, (place, series).
        noise: Of each series, from the second differences of its own points, (series,).
        names: Their metrics.
        axis: To go from positions to steps.
    """

    u: Array
    values: Array
    noise: Array
    names: list[str]
    axis: Axis

    def report(self, low: float, middle: float, high: float) -> dict[str, Any]:
        """Return a change between two positions as a row for the scorer."""
        step, start, end = (self.axis.step(float(u)) for u in (middle, low, high))
        return dict(step=step, start=start, end=end, score=1.0, metrics="|".join(self.names))


def evenly(run: Run, *, places: int | None = None) -> Even:
    """Resample the series of a run, but for learning rates, to an even grid.

    Args:
        run: The run.
        places: Size of the grid; as many as there are snapshots, at most ``PLACES``, if None.
    """
    series = [s for s in run[0] if not is_config_series(s) and np.isfinite(s.value).sum() > 2]
    steps = np.concatenate([s.step for s in series])
    axis = choose_axis(steps)
    u = np.linspace(0.0, 1.0, places or min(PLACES, np.unique(steps).size))
    columns, noise = [], []
    for s in series:
        order = np.argsort(s.step, kind="stable")
        known = order[np.isfinite(s.value[order])]
        bend = np.diff(s.value[known], n=2)
        columns.append(np.interp(u, axis.fraction(s.step[known]), s.value[known]))
        noise.append(NOISE_PER_SECOND_DIFFERENCE * np.median(np.abs(bend)))
    return Even(u, np.column_stack(columns), np.array(noise), [s.metric for s in series], axis)


def ruptures_defaults(run: Run) -> Iterator[dict[str, Any]]:
    """Yield change points of PELT with an rbf cost and ruptures' own min_size, jump and penalty."""
    even = evenly(run, places=PLACES)
    yield from _breaks(even, ruptures.Pelt(model="rbf").fit(_standardised(even)).predict(pen=10))


def ruptures_best(run: Run, *, penalty: float = 16.0) -> Iterator[dict[str, Any]]:
    """Yield change points of PELT at its best: levels, absolute residuals, any place a candidate.

    On seed 7 the costs ``l1``, ``rbf``, ``normal`` and ``l2`` reach F1 .57, .56, .52 and .48.
    """
    even = evenly(run, places=PLACES)
    search = ruptures.Pelt(model="l1", jump=1, min_size=3).fit(_standardised(even))
    yield from _breaks(even, search.predict(pen=penalty * even.values.shape[1]))


class LineCost(BaseCost):
    """Squared residuals of a line per series and segment, each from running sums.

    ruptures' own ``linear`` cost takes one series and solves a least-squares problem per segment.
    """

    model = "line"  # pyright: ignore  # ruptures types it as an abstract property
    min_size = 4

    def fit(self, signal: Array) -> LineCost:  # pyright: ignore  # ruptures names no arguments
        """Lay up the running sums of a signal on an even grid, (place, series)."""
        x = np.linspace(-1.0, 1.0, len(signal))[:, None]
        self.signal = signal
        parts = np.hstack([np.ones_like(x), x, x * x, signal, signal * x, signal**2])
        self._sums = np.vstack([np.zeros(parts.shape[1]), np.cumsum(parts, axis=0)])
        return self

    def line(self, start: int, end: int) -> tuple[Array, Array]:
        """Return the slope and the squared residuals of each series on a segment, (series,)."""
        sums = self._sums[end] - self._sums[start]
        n, sx, sxx = sums[:3]
        sy, sxy, syy = np.split(sums[3:], 3)
        spread, shared = sxx - sx * sx / n, sxy - sx * sy / n
        return shared / spread, np.maximum(syy - sy * sy / n - shared**2 / spread, 0.0)

    def error(self, start: int, end: int) -> float:  # pyright: ignore  # typed as None there
        """Return the cost of a segment."""
        return float(self.line(start, end)[1].sum())


def piecewise_linear(run: Run, *, penalty: float = 3.0) -> Iterator[dict[str, Any]]:
    """Yield the steep pieces and the turns of a piecewise linear fit with a BIC penalty.

    A piece is a change if some series is ``STEEPER`` on it than on both neighbours, by more than
    the slope's error; where a slope changes sign between two pieces that are none, the run turns.
    """
    even = evenly(run)
    signal = _in_noise_units(even)
    cost = LineCost().fit(signal)
    pen = penalty * signal.shape[1] * np.log(len(signal))
    ends = [0, *ruptures.Pelt(custom_cost=cost, jump=1, min_size=4).fit(signal).predict(pen=pen)]
    pieces = list(pairwise(ends))
    slopes = np.array([cost.line(a, b)[0] for a, b in pieces])  # (piece, series)
    # of a line through n points on an even grid of width 2
    errors = np.array([(12 / (b - a) ** 3) ** 0.5 * len(signal) / 2 for a, b in pieces])
    steep = np.abs(slopes)
    steps = [
        bool(np.any(steep[k] > STEEPER * np.maximum(steep[k - 1], steep[k + 1]) + 3 * errors[k]))
        for k in range(1, len(pieces) - 1)
    ]
    steps = [False, *steps, False]
    for k, (a, b) in enumerate(pieces):
        u = even.u[[a, b - 1]]
        if steps[k]:
            yield even.report(u[0], u.mean(), u[1])
        elif k + 1 < len(pieces) and not steps[k + 1]:
            turns = slopes[k] * slopes[k + 1] < 0
            sure = np.minimum(steep[k] / errors[k], steep[k + 1] / errors[k + 1]) > 3
            if np.any(turns & sure):
                yield even.report(u[1], u[1], u[1])


def process_critical_points(run: Run, *, depth: float = 3.0) -> Iterator[dict[str, Any]]:
    """Yield where a Gaussian process through some series turns or stands still."""
    yield from _joined(
        run,
        lambda s: [(p.step, p.step, p.step) for p in critical_points(s.step, s.value, depth=depth)],
    )


def process_slope_peaks(run: Run, *, height: float = 6.0) -> Iterator[dict[str, Any]]:
    """Yield where a Gaussian process through some series is steepest."""
    yield from _joined(run, lambda s: slope_peaks(s.step, s.value, height=height))


def bayesian_online(run: Run, *, threshold: float = 0.0) -> Iterator[dict[str, Any]]:
    """Yield the alarms of the Bayesian online detector, at the snapshots that raised them."""
    names = "|".join(sorted({s.metric for s in run[0] if not is_config_series(s)}))
    for step in bayesian(run, threshold):
        yield dict(step=step, start=step, end=step, score=1.0, metrics=names)


RIVALS: dict[str, Detector] = {
    "ruptures, defaults": ruptures_defaults,
    "ruptures, best": ruptures_best,
    "piecewise linear": piecewise_linear,
    "GP critical points": process_critical_points,
    "GP slope peaks": process_slope_peaks,
    "Bayesian online": bayesian_online,
}


def _standardised(even: Even) -> Array:
    return (even.values - even.values.mean(axis=0)) / (even.values.std(axis=0) + 1e-12)


def _in_noise_units(even: Even) -> Array:
    floor = 1e-3 * np.std(even.values, axis=0) + 1e-12  # of a series without noise
    return even.values / np.maximum(even.noise, floor)


def _breaks(even: Even, breaks: Sequence[int]) -> Iterator[dict[str, Any]]:
    for k in breaks[:-1]:  # the last is the end of the run
        place = 0.5 * (even.u[k - 1] + even.u[k])
        yield even.report(place, place, place)


def _joined(run: Run, find: Callable[[Series], Iterable[Place]]) -> Iterator[dict[str, Any]]:
    """Yield what is found in the single series, once where several change together."""
    series = [s for s in run[0] if not is_config_series(s) and np.isfinite(s.value).sum() > 10]
    axis = choose_axis(np.concatenate([s.step for s in series]))
    found = sorted((middle, low, high, s.metric) for s in series for low, middle, high in find(s))
    while found:
        here = axis.fraction(found[0][0])
        group = [f for f in found if axis.fraction(f[0]) - here <= TOGETHER]
        found = found[len(group) :]
        yield dict(
            step=float(np.median([f[0] for f in group])),
            start=min(f[1] for f in group),
            end=max(f[2] for f in group),
            score=float(len(group)),
            metrics="|".join(sorted({f[3] for f in group})),
        )
