"""The axis of a run: training steps as fractions of a logarithmic or a linear scale.

Positions, widths and distances of the detector are fractions of this axis. So a run of a thousand
steps and one of a million are treated alike.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from devtrack.errors import ConfigError

AXES = ("auto", "log", "linear")
GROWTH = 3.0  # of the gaps from first to last quarter; an even schedule with gaps has up to 2


class Axis(NamedTuple):
    """A map between training steps and the unit interval.

    Args:
        kind: ``"log"`` (log(step + 1)) or ``"linear"``.
        first: First step, at fraction 0.
        last: Last step, at fraction 1.
    """

    kind: str
    first: float
    last: float

    def fraction(self, step: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the positions of steps on the axis; steps outside it fall outside [0, 1]."""
        low, high = self._scale(self.first), self._scale(self.last)
        return (self._scale(np.maximum(np.asarray(step, np.float64), 0.0)) - low) / (high - low)

    def step(self, fraction: float) -> float:
        """Return the step at a position of the axis; not rounded."""
        if self.kind == "linear":
            return float(self.first + fraction * (self.last - self.first))
        low, high = np.log1p(self.first), np.log1p(self.last)
        return float(np.expm1(low + fraction * (high - low)))

    @property
    def decades(self) -> float:
        """Length of the axis in decades of (step + 1)."""
        return float((np.log1p(self.last) - np.log1p(self.first)) / np.log(10.0))

    def _scale(self, step: npt.ArrayLike) -> npt.NDArray[np.float64]:
        step = np.asarray(step, np.float64)
        return np.log1p(step) if self.kind == "log" else step


def choose_axis(steps: npt.ArrayLike, *, kind: str = "auto") -> Axis:
    """Lay an axis through the snapshots of a run.

    ``"auto"`` takes the scale of the schedule: logarithmic where its gaps grow. The user who chose
    the schedule chose the scale of interest. How evenly snapshots lie on either
    scale does not tell: a dense logarithmic schedule starts with every single step.

    Args:
        steps: Steps of the snapshots in any order; at least two must differ.
        kind: ``"log"``, ``"linear"`` or ``"auto"``.

    Raises:
        ConfigError: When ``kind`` is none of the three.
    """
    if kind not in AXES:
        raise ConfigError(f"axis={kind!r}: must be one of {', '.join(AXES)}. Pass axis='auto'.")
    grid = np.unique(np.asarray(steps, np.float64))
    first, last = float(grid[0]), float(grid[-1])
    if kind == "auto":
        quarter = max(1, grid.size // 4)
        start, end = grid[quarter] - first, last - grid[-1 - quarter]
        kind = "log" if end > GROWTH * start else "linear"
    return Axis(kind, first, last)
