"""Logistic regression on more rows than memory holds: the mean of the maps fitted on its chunks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating]
Labels = npt.NDArray[np.integer]


class AveragedLogistic:
    """Logistic regressions of several targets on the same features, fitted chunk by chunk.

    A map is the mean, weighted by rows, of the maps that scikit-learn fits on each chunk alone. For
    one chunk it is scikit-learn's own. For many it equals a fit on all rows up to terms of the
    order of (units / rows of a chunk)². A class that a chunk lacks is taken from the
    others.

    Args:
        num_targets: How many label sets share the features.
        num_classes: Classes 0 … num_classes − 1.

    Source:
        Zhang, Duchi & Wainwright 2013 (JMLR 14), "Communication-efficient algorithms for
        statistical optimization".
    """

    def __init__(self, num_targets: int, num_classes: int) -> None:
        self._sums: Array | None = None  # (target, class, 1 + unit)
        self._rows = np.zeros((num_targets, num_classes))

    def add(self, x: Array, targets: Sequence[Labels], inverse_penalty: float) -> None:
        """Fit on a chunk and add to the mean.

        Args:
            x: (row, unit), overwritten.
            targets: Of each label set, (row,).
            inverse_penalty: C of scikit-learn, on features of variance 1.
        """
        if self._sums is None:
            self._sums = np.zeros((*self._rows.shape, 1 + x.shape[1]))
        mean, scale = _standardize(x)
        for target, y in enumerate(targets):
            present, intercept, weights = _fitted(x, y, inverse_penalty)
            weights = weights / scale
            whole = np.column_stack([intercept - weights @ mean, weights])
            self._sums[target, present] += len(x) * whole
            self._rows[target, present] += len(x)

    def logits(self, x: Array, target: int = 0) -> Array:
        """Return the log-probabilities of the classes up to a constant, (row, class).

        −∞ for a class that was never fitted.
        """
        assert self._sums is not None, "add a chunk first"
        seen = self._rows[target] > 0
        maps = (self._sums[target, seen] / self._rows[target, seen, None]).astype(x.dtype)
        found = np.full((len(x), len(seen)), -np.inf, dtype=x.dtype)
        found[:, seen] = x @ maps[:, 1:].T + maps[:, 0]
        return found


def _standardize(x: Array) -> tuple[Array, Array]:
    """Bring every unit to mean 0 and variance 1 in place; return what was taken off and divided by.

    Not scikit-learn's StandardScaler: that makes copies of x in double precision on its way.
    """
    mean = x.mean(0, dtype=np.float64)
    x -= mean.astype(x.dtype)
    scale = np.sqrt(np.einsum("ru,ru->u", x, x, dtype=np.float64) / len(x))
    scale[scale <= 1e-7 * scale.max(initial=0.0)] = np.inf  # a unit that never varies has no weight
    x /= scale.astype(x.dtype)
    return mean, scale


def _fitted(x: Array, y: Labels, inverse_penalty: float) -> tuple[Labels, Array, Array]:
    """Return the classes in y, (class,), their intercepts, (class,), and weights, (class, unit)."""
    from sklearn.linear_model import LogisticRegression

    present = np.unique(y)
    if len(present) == 1:
        return present, np.zeros(1), np.zeros((1, x.shape[1]))
    # The optimum is unique; a tolerance below the test's resolution only costs time.
    probe = LogisticRegression(C=inverse_penalty, tol=1e-3, max_iter=1000).fit(x, y)
    intercept, weights = probe.intercept_.astype(np.float64), probe.coef_.astype(np.float64)
    if len(present) == 2:  # scikit-learn gives the difference of the two
        halves = np.array([-0.5, 0.5])
        intercept, weights = halves * intercept[0], halves[:, None] * weights[0]
    return present, intercept, weights
