"""The k-gons of the toy model of superposition: their loss and LLC, and which one weights are.

The model x ↦ ReLU(WᵀWx + b) sees one of c features at a time, of size uniform on [0, 1], through
two hidden units. Its critical points are regular k-gons: k columns of W of equal length l* at equal
angles with one bias b*, and c − k columns that are zero (Chen et al. 2023, arXiv:2310.06301).
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

_SIZES = (np.arange(2000) + 0.5) / 2000  # feature sizes; the midpoint rule errs by less than 1e-7


class Polygon(NamedTuple):
    """A k-gon among c features.

    Attributes:
        vertices: k, the features that the model gives back.
        positive: Unused features whose bias is at 1 / (2c), the "+" of Chen et al. The others' bias
            is negative, so that they are dead.
        features: c.
    """

    vertices: int
    positive: int
    features: int

    @property
    def name(self) -> str:
        """As in the paper: ``5+`` is a pentagon with one unused bias that is positive."""
        return f"{self.vertices}{'+' * self.positive}"

    @property
    def loss(self) -> float:
        """Mean over samples of the squared error: (h_k + c − k) / 3c − (number of +) / 4c²."""
        c = self.features
        excess = regular(self.vertices).excess if self.vertices else 0.0
        return (excess + c - self.vertices) / (3 * c) - self.positive / (4 * c**2)

    @property
    def llc(self) -> float | None:
        """The local learning coefficient; None where the point is no regular minimum.

        From k = 5 on, used and "+" features hold 3 weights each, all but the rotation of the plane
        cost loss to second order, and a dead feature costs nothing nearby: λ = (3 (k + pluses) −
        1) / 2. Below, a bias stands at the kink of the ReLU.
        """
        return (3 * (self.vertices + self.positive) - 1) / 2 if self.vertices >= 5 else None


class Regular(NamedTuple):
    """The best regular k-gon: length of its columns, its bias, and h_k, its share of the loss."""

    length: float
    bias: float
    excess: float


@cache
def regular(vertices: int) -> Regular:
    """Return the k-gon of least loss.

    Example:
        >>> [round(number, 3) for number in regular(5)]  # the fourth decimal is the optimizer's
        [1.17, -0.282, 0.237]
    """
    cosines = np.cos(2 * np.pi * np.arange(vertices) / vertices)
    targets = np.eye(1, vertices).T * _SIZES  # (vertex, size): only the first is on

    def excess(at: npt.NDArray[np.float64]) -> float:
        length, bias = at
        answers = np.maximum(length**2 * np.outer(cosines, _SIZES) + bias, 0)
        return 3 * vertices * float(((answers - targets) ** 2).sum(0).mean())

    best = minimize(
        excess, [1.2, -0.2], method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-12}
    )
    return Regular(float(best.x[0]), float(best.x[1]), float(best.fun))


def critical_point(
    polygon: Polygon, *, dead_bias: float = -0.3
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return W (2, c) and b (c,) of a k-gon, its vertices first."""
    k, c = polygon.vertices, polygon.features
    best = regular(k)
    angles = 2 * np.pi * np.arange(k) / k
    w = np.zeros((2, c))
    w[:, :k] = best.length * np.stack([np.cos(angles), np.sin(angles)])
    b = np.full(c, dead_bias)
    b[:k] = best.bias
    b[k : k + polygon.positive] = 1 / (2 * c)
    return w, b


def classify(w: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> Polygon:
    """Return the k-gon that weights are nearest to, by their geometry; see ``is_at`` for how near.

    A feature is a vertex if the model gives back more than half of it at full size; an unused one
    counts as positive if its bias is nearer to 1 / (2c) than to 0.

    Shapes:
        w: (2, c). b: (c,).
    """
    features = len(b)
    used = (w**2).sum(0) + b > 0.5
    positive = ~used & (b > 1 / (4 * features))
    return Polygon(int(used.sum()), int(positive.sum()), features)


def is_at(polygon: Polygon, loss: float, *, within: float = 0.03) -> bool:
    """Say whether a loss is the polygon's, to a relative error of ``within``."""
    return abs(loss / polygon.loss - 1) < within
