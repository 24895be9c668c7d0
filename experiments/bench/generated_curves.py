"""What generated metric curves are made of: level changes, bends, smooth trends and noise.

Curves are in standard deviations of the noise or between 0 and 1, over the fractions of an axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

Array = npt.NDArray[np.float64]
Steps = npt.NDArray[np.int64]
Rng = np.random.Generator

LEVELS = (0.05, 0.5, 0.95)  # of a profile at the onset, the midpoint and the end
GRID = np.linspace(-12.0, 12.0, 4801)  # that profiles are tabulated on
DEGREES = {"t3": 3, "t5": 5}  # of freedom, of the heavy tails; "gauss" is the other one


@dataclass(frozen=True, kw_only=True)
class Ranges:
    """What is drawn from.

    Attributes:
        shapes: Of level changes, names in ``PROFILES``.
        trends: Kinds of smooth trends.
        tails: Of the noise.
        width: Of level changes, a fraction of the axis.
        snr: Height of level changes in standard deviations of the noise.
        phi: Correlation of the noise at neighbouring snapshots.
        understated: Noise over its reported error where that is too small.
        snapshots: Of a run.
        many_snapshots: Of a few runs.
    """

    shapes: tuple[str, ...] = ("logistic", "gauss")
    trends: tuple[str, ...] = ("power", "expmix", "logline")
    tails: tuple[str, ...] = ("gauss", "gauss", "t5")
    width: tuple[float, float] = (0.01, 0.20)
    snr: tuple[float, float] = (3.0, 30.0)
    phi: tuple[float, float] = (0.0, 0.5)
    understated: tuple[float, float] = (1.3, 1.8)
    snapshots: tuple[int, ...] = (30, 60, 80, 120, 160, 220, 300)
    many_snapshots: tuple[int, ...] = (700, 2000)


OWN = Ranges()
"""The benchmark's own, of which its public part is drawn."""

OTHER = Ranges(
    shapes=("gompertz", "algebraic", "gauss"),
    trends=("stretch", "power", "expmix"),
    tails=("gauss", "gauss", "t3"),
)
"""Other shapes, trends and noise: a detector may be good at a generator's own alone."""


class Profile(NamedTuple):
    """A rise from 0 to 1, tabulated on ``GRID``, and where it reaches ``LEVELS``."""

    value: Array
    onset: float
    midpoint: float
    end: float


class Effect(NamedTuple):
    """A level change; ``width`` is from its onset to its end, ``snr`` its height."""

    midpoint: float
    width: float
    shape: str
    snr: float

    def rise(self, u: Array) -> Array:
        """Return the change, from 0 to 1, over the axis."""
        profile = PROFILES[self.shape]
        place = (u - self.midpoint) / self._scale + profile.midpoint
        return np.interp(place, GRID, profile.value, left=0.0, right=1.0)

    @property
    def interval(self) -> tuple[float, float]:
        """Onset and end, where it has made 5 and 95 % of its way."""
        profile = PROFILES[self.shape]
        return (
            self.midpoint + (profile.onset - profile.midpoint) * self._scale,
            self.midpoint + (profile.end - profile.midpoint) * self._scale,
        )

    @property
    def _scale(self) -> float:
        profile = PROFILES[self.shape]
        return self.width / (profile.end - profile.onset)


class Bend(NamedTuple):
    """A place where the slope changes to ``slope``, rounded over a width."""

    place: float
    rounding: float
    slope: float

    @property
    def scale(self) -> float:
        """The scale of the softplus that rounds it."""
        return max(self.rounding, 1e-4) / 4


def bent_line(u: Array, slope: float, bends: Sequence[Bend]) -> Array:
    """Return a piecewise linear curve with rounded corners that begins with a slope."""
    curve = slope * u
    for bend in bends:
        scale = bend.scale
        curve = curve + (bend.slope - slope) * scale * np.logaddexp(0, (u - bend.place) / scale)
        slope = bend.slope
    return curve


def smooth_trend(rng: Rng, steps: Steps, kind: str) -> Array:
    """Return a curve without a transition that falls from 1 to 0, (snapshot,).

    Args:
        rng: To draw its parameters.
        steps: Of the snapshots, (snapshot,).
        kind: ``power``, ``expmix`` (exponential relaxations), ``logline`` (a line over log steps)
            or ``stretch`` (a stretched exponential).
    """
    elapsed = steps.astype(float) - steps[0]
    total = max(elapsed[-1], 1.0)
    if kind == "power":
        first = 10 ** rng.uniform(0, max(0.3, np.log10(total) - 1.5))
        curve = (1 + elapsed / first) ** -rng.uniform(0.1, 0.8)
    elif kind == "expmix":
        rates = 10 ** rng.uniform(-np.log10(total) - 0.3, -0.5, size=int(rng.integers(2, 6)))
        curve = np.exp(-np.outer(elapsed, rates)) @ rng.dirichlet(np.ones(rates.size))
    elif kind == "stretch":
        stretch = rng.uniform(0.3, 0.9)
        time = 10 ** rng.uniform(0.3, np.log10(total))
        curve = np.exp(-((elapsed / time) ** stretch))
    else:
        curve = 1 - rng.uniform(0.2, 1.0) * (np.log1p(elapsed) / np.log1p(total))
    curve = curve - curve.min()
    return curve / max(curve.max(), 1e-12)


def unit_noise(rng: Rng, size: int, phi: float, tail: str) -> Array:
    """Return stationary AR(1) noise of unit variance, (snapshot,)."""
    if tail == "gauss":
        fresh = rng.standard_normal(size)
    else:
        degrees = DEGREES[tail]
        fresh = rng.standard_t(degrees, size) / np.sqrt(degrees / (degrees - 2))
    noise = np.empty(size)
    noise[0] = fresh[0]
    share = np.sqrt(1 - phi * phi)
    for i in range(1, size):
        noise[i] = phi * noise[i - 1] + share * fresh[i]
    return noise


def error_profile(rng: Rng, u: Array) -> Array:
    """Return how large the standard error is in the course of a run, about 1, (snapshot,)."""
    kind = str(rng.choice(["const", "falling", "rising", "bumpy"]))
    waves = u * rng.uniform(0.5, 2) + rng.random()
    profile = {
        "const": np.ones_like(u),
        "falling": np.exp(-1.3 * u),
        "rising": np.exp(1.0 * (u - 1)),
        "bumpy": 0.6 + 0.4 * np.sin(2 * np.pi * waves),
    }[kind]
    return profile * np.exp(0.15 * rng.standard_normal(u.size))


class Noise:
    """The noise of one metric, and what its reported standard error says of it."""

    def __init__(self, rng: Rng, ranges: Ranges, quality: str) -> None:
        self._rng, self._quality = rng, quality
        self._phi = float(rng.uniform(*ranges.phi)) if rng.random() < 0.6 else 0.0
        self._tail = str(rng.choice(ranges.tails))
        under, over = float(rng.uniform(*ranges.understated)), float(rng.uniform(0.6, 0.85))
        self._factor = {"under": under, "over": over}.get(quality, 1.0)

    def scale(self, se: Array) -> float:
        """Return the standard deviation of the noise at a typical snapshot."""
        factor = 1.22 if self._quality == "process" else self._factor
        return factor * float(np.median(se))

    def draw(self, se: Array) -> Array:
        """Return the noise, (snapshot,), of which ``se`` is the standard error."""
        if self._quality == "process":  # white noise of the measurement, correlated of the training
            measured = se * unit_noise(self._rng, se.size, 0.0, self._tail)
            phi = max(self._phi, 0.3)
            return measured + 0.7 * np.median(se) * unit_noise(self._rng, se.size, phi, "gauss")
        return self._factor * se * unit_noise(self._rng, se.size, self._phi, self._tail)

    def reported(self, se: Array) -> Array:
        """Return the standard error that is reported: none where it is missing."""
        return np.full_like(se, np.nan) if self._quality == "missing" else se


def draw_quality(rng: Rng) -> str:
    """Draw how true the reported standard errors are."""
    return str(rng.choice(["exact", "exact", "exact", "process", "under", "over", "missing"]))


def _profile(value: Array) -> Profile:
    onset, midpoint, end = (float(GRID[np.searchsorted(value, level)]) for level in LEVELS)
    return Profile(value, onset, midpoint, end)


def _from_0_to_1(value: Array) -> Array:
    return (value - value[0]) / (value[-1] - value[0])


PROFILES = {
    "logistic": _profile(1 / (1 + np.exp(-GRID))),
    "gauss": _profile(ndtr(GRID)),
    "gompertz": _profile(_from_0_to_1(np.exp(-np.exp(-GRID)))),
    "algebraic": _profile(_from_0_to_1(0.5 * (1 + GRID / np.sqrt(1 + GRID * GRID)))),
}
