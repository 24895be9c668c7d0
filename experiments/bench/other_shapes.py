"""Labelled runs of other shapes, trends and noise than the benchmark's generator draws.

A detector may be good at a generator's own shapes alone. With these every level change is a
Gompertz curve, an algebraic sigmoid or a Gaussian one, stretched exponentials stand among the
smooth trends, and heavy tails are Student's t of three degrees of freedom instead of five.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating]

LEVELS = (0.05, 0.5, 0.95)  # where the generator wants a shape's begin, middle and end


def use_other_shapes(generator: ModuleType) -> None:
    """Let the benchmark's generator draw shapes, trends and noise that it does not have.

    Args:
        generator: The module ``generate.py``; changed in place.
    """
    v = np.linspace(-12.0, 12.0, 4801)
    shapes = {"gompertz": np.exp(-np.exp(-v)), "algebraic": 0.5 * (1 + v / np.sqrt(1 + v * v))}
    for name, rise in shapes.items():
        profile = (rise - rise[0]) / (rise[-1] - rise[0])
        marks = [float(v[np.searchsorted(profile, level)]) for level in LEVELS]
        generator._TABLES[name] = (v, profile, marks)
    generator.SPLITS["public"].update(
        shapes=("gompertz", "algebraic", "gauss"), trends=("stretch", "power", "expmix")
    )
    known_trend, known_noise = generator.smooth_trend, generator.unit_noise

    def smooth_trend(rng: Any, cfg: Any, steps: Array, kind: str | None = None) -> Any:
        kind = kind or str(rng.choice(cfg["trends"]))
        return _stretched(rng, steps) if kind == "stretch" else known_trend(rng, cfg, steps, kind)

    def unit_noise(rng: Any, n: int, phi: float, tail: str) -> Array:
        return known_noise(rng, n, phi, tail) if tail != "t5" else _heavy(rng, n, phi)

    vars(generator).update(smooth_trend=smooth_trend, unit_noise=unit_noise)


def _stretched(rng: np.random.Generator, steps: Array) -> tuple[Array, str]:
    """Return a stretched exponential from 1 to 0, (step,), and its name."""
    elapsed = steps.astype(float) - steps[0]
    stretch = rng.uniform(0.3, 0.9)
    time = 10 ** rng.uniform(0.3, np.log10(max(elapsed[-1], 1.0)))
    curve = np.exp(-((elapsed / time) ** stretch))
    curve = curve - curve.min()
    return curve / max(curve.max(), 1e-12), "stretch"


def _heavy(rng: np.random.Generator, n: int, phi: float) -> Array:
    """Return AR(1) noise of unit variance with the tails of Student's t of 3 degrees, (n,)."""
    fresh = rng.standard_t(3, n) / np.sqrt(3)
    noise = np.empty(n)
    noise[0] = fresh[0]
    for i in range(1, n):
        noise[i] = phi * noise[i - 1] + np.sqrt(1 - phi * phi) * fresh[i]
    return noise
