"""Critical points of a Gaussian process through a curve, as stages of training are dated by hand.

Hoogland et al. smooth the LLC of a run with a Gaussian process on logarithmic steps and end a stage
where the slope of the posterior mean is zero: where it crosses zero (the LLC turns) and where it
only comes near (a plateau between two rises). Both are minima of the absolute slope. The process
needs a white-noise term: without one it runs through every point and has as many minima.

Source:
    Hoogland et al. 2024, arXiv:2402.02364, "stage boundaries"; Rasmussen & Williams 2006, ch. 9.4
    (the derivative of a Gaussian process is one too).
"""

from __future__ import annotations

import warnings
from itertools import pairwise
from typing import NamedTuple, cast

import numpy as np
import numpy.typing as npt
from scipy.linalg import solve_triangular
from scipy.signal import find_peaks
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, Kernel, WhiteKernel

Array = npt.NDArray[np.floating]

LENGTHS = (0.02, 1.0)  # bounds of the process's length, as a share of the logarithmic axis
PLACES = 500  # where the slope is looked at
DEPTH = 3.0  # standard deviations that a minimum must lie below the slopes on both sides
HEIGHT = 6.0  # standard deviations that a peak of the slope must stand out by
EDGE = 0.05  # of the axis at either end: with points on one side only a slope means little


class Slope(NamedTuple):
    """The slope of a smoothed curve by the logarithm of the step.

    Args:
        step: Where, ascending, evenly spaced on logarithmic steps, (place,).
        value: Posterior mean of the curve, (place,).
        slope: Posterior mean of its derivative by log(step), (place,).
        sd: Posterior standard deviation of the derivative, (place,).
    """

    step: Array
    value: Array
    slope: Array
    sd: Array


class CriticalPoint(NamedTuple):
    """Where a curve stands still.

    Args:
        step: Where; not rounded.
        kind: ``"turn"`` (the slope changes sign) or ``"plateau"`` (it does not).
    """

    step: float
    kind: str


def log_step(step: npt.ArrayLike) -> Array:
    """Return natural logarithms of steps; step 0 stands at half the first step after it.

    Example:
        >>> np.exp(log_step([0, 100, 200])).round().tolist()
        [50.0, 100.0, 200.0]
    """
    step = np.asarray(step, np.float64)
    return np.log(np.maximum(step, 0.5 * float(np.min(step[step > 0]))))


def smooth(step: npt.ArrayLike, value: npt.ArrayLike) -> Slope:
    """Return the slope of a Gaussian process with white noise through a curve.

    Args:
        step: Optimizer steps, in any order, (point,).
        value: The curve; points that are not finite are left out, (point,).
    """
    known = np.isfinite(np.asarray(value, np.float64))
    x, y = log_step(np.asarray(step)[known]), np.asarray(value, np.float64)[known]
    reach, unit = float(np.ptp(x)), float(np.std(y)) or 1.0
    low, high = LENGTHS
    kernel = ConstantKernel(1.0, (1e-2, 1e3)) * RBF(
        0.1 * reach, (low * reach, high * reach)
    ) + WhiteKernel(1e-2, (1e-8, 1e1))
    process = GaussianProcessRegressor(kernel)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a bound was reached: so be it
        process.fit(x[:, None], (y - y.mean()) / unit)
    size, length, _ = np.exp(cast(Kernel, process.kernel_).theta)
    place = np.linspace(x.min(), x.max(), PLACES)
    apart = (place[:, None] - x) / length  # (place, point)
    cover = size * np.exp(-0.5 * apart**2)
    tilt = -cover * apart / length  # covariances of the slopes with the points
    seen = solve_triangular(process.L_, tilt.T, lower=True)  # (point, place)
    variance = size / length**2 - np.einsum("ij,ij->j", seen, seen)
    return Slope(
        np.exp(place),
        unit * (cover @ process.alpha_) + y.mean(),
        unit * (tilt @ process.alpha_),
        unit * np.sqrt(np.maximum(variance, 0.0)),
    )


def critical_points(
    step: npt.ArrayLike, value: npt.ArrayLike, *, depth: float = DEPTH
) -> list[CriticalPoint]:
    """Return the turns and plateaus of a curve, by step.

    Args:
        step: Optimizer steps, in any order, 0 among them or not, (point,).
        value: The curve, NaN where unknown, (point,).
        depth: By how many posterior standard deviations of the slope a minimum of its absolute
            value must lie below the largest one on either side; 0 takes every minimum.

    Returns:
        None nearer to an end of the curve than ``EDGE`` of its logarithmic axis.

    Example:
        >>> step = np.arange(0, 5000, 50)
        >>> [point.kind for point in critical_points(step, -((np.log(step + 50) - 6) ** 2))]
        ['turn']
    """
    course = smooth(step, value)
    return [
        CriticalPoint(float(course.step[k]), "turn" if turns else "plateau")
        for k, turns in _minima(course, depth)
    ]


def slope_peaks(
    step: npt.ArrayLike, value: npt.ArrayLike, *, height: float = HEIGHT
) -> list[tuple[float, float, float]]:
    """Return where a curve is steepest, as (onset, middle, end) by step.

    Onset and end are where the absolute slope has half the height over its surroundings.

    Args:
        step: Optimizer steps, (point,).
        value: The curve, (point,).
        height: By how many posterior standard deviations a peak must stand out on either side.
    """
    course = smooth(step, value)
    steep = np.abs(course.slope)
    ends = [0, *(k for k, _ in _minima(course, height)), steep.size - 1]
    found = []
    for left, right in pairwise(ends):
        top = left + int(np.argmax(steep[left : right + 1]))
        ground = max(steep[left], steep[right])
        if steep[top] - ground <= height * course.sd[top]:
            continue  # steepest at an end: a relaxation from the start, or a rise still going on
        half = 0.5 * (steep[top] + ground)
        low = left + int(np.argmax(steep[left : top + 1] >= half))
        high = top + int(np.argmin(steep[top : right + 1] >= half))
        onset, middle, end = course.step[[low, top, high]].tolist()
        found.append((onset, middle, end))
    return found


def _minima(course: Slope, depth: float) -> list[tuple[int, bool]]:
    """Return the places of the deep minima of the absolute slope, and whether its sign changes."""
    found, facts = find_peaks(-np.abs(course.slope), prominence=0.0)
    deep = facts["prominences"] >= depth * course.sd[found]
    inner = np.abs(found / (PLACES - 1) - 0.5) <= 0.5 - EDGE
    kept = found[deep & inner]
    return [(int(k), bool(course.slope[k - 1] * course.slope[k + 1] < 0)) for k in kept]
