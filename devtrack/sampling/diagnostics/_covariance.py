"""Covariances along chains, with the standard error that chains leave them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from devtrack.sampling.diagnostics._statistics import Floats, effective_draws


class Covariance(NamedTuple):
    """An estimated covariance.

    Attributes:
        value: The covariance.
        se: Standard error of ``value``.
    """

    value: float
    se: float


def covariance(a: Floats, b: Floats) -> Covariance:
    """Return Cov(a, b) over all draws of all chains.

    Its error is that of the mean of (a − ā)(b − b̄), whose draws are correlated along chains.

    Shapes:
        a, b: (chain, draw).
    """
    product = (a - a.mean()) * (b - b.mean())
    return Covariance(float(product.sum()) / (product.size - 1), mean_se(product))


def covariance_about(a: Floats, b: Floats, elsewhere: Floats) -> Covariance:
    """Return E[a (b − m)], with m the mean that b has under other chains.

    Shapes:
        a, b: (chain, draw). elsewhere: (other chain, other draw), of b.
    """
    product = a * (b - elsewhere.mean())
    se = np.hypot(mean_se(product), abs(a.mean()) * mean_se(elsewhere))
    return Covariance(float(product.mean()), float(se))


def mean_se(signal: Floats) -> float:
    """Return the standard error of the mean over correlated draws; NaN for constant ones.

    Shapes:
        signal: (chain, draw).
    """
    ess = effective_draws(signal)
    return float(signal.std(ddof=1) / np.sqrt(ess)) if ess > 0 else float("nan")
