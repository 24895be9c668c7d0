"""Statistics of sampled chains: arrays of (chain, draw) in, numbers out."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri, stdtrit

Floats = npt.NDArray[np.floating]


def split_rhat(signal: Floats) -> float:
    """Return the rank-normalised split R-hat; NaN for constant chains.

    Shapes:
        signal: (chain, draw).

    Source:
        Vehtari et al. 2021 (arXiv:1903.08008), as arviz-stats computes it.
    """
    if is_constant(signal) or signal.shape[1] < 4:
        return float("nan")
    return float(_array_stats().rhat(signal, chain_axis=0, draw_axis=1))


def effective_draws(signal: Floats) -> float:
    """Return the effective sample size for the mean, over all chains; NaN for constant chains.

    It counts disagreement between chains as well as autocorrelation within them (the variance that
    autocorrelations are measured against includes the spread of the chains' means), so that
    sd / √ess stays honest when chains sit in different places. The spread of the chains' means
    alone would be noisier by far: with 4 chains it is off by 40 % itself.

    Shapes:
        signal: (chain, draw).

    Source:
        Vehtari et al. 2021, section 3.
    """
    if is_constant(signal) or signal.shape[1] < 4:
        return float("nan")
    scaled = signal / signal.std()  # arviz-stats takes a spread below 1e-15 for a constant
    return float(_array_stats().ess(scaled, chain_axis=0, draw_axis=1, method="mean"))


BLOCKS = 25
"""Means of blocks per chain. Where most of the variance is noise of the batches, autocorrelations
of what moves slowly drown in their own error, 1 / √draws; means of blocks carry less of that noise.
Of 300 sets of 4 chains of 200 draws, 4.5 % AR(1) of correlation .96 and else white, ± 1.96 widened
sd / √ESS held the mean 84 % of the time, with blocks as well 93 %."""

HIDDEN = 0.5
"""Share of the variance below which noise may hide the slow part. Of such sets, at 500 draws and
correlation .95 the draws alone hold the mean 97 % of the time at a share of .5; at .9 and a share
of .1 it is 93 %, with blocks 96 %."""


class MeanError(NamedTuple):
    """How well correlated draws know their mean; NaN for constant chains.

    Attributes:
        mcse: Monte Carlo standard error of the mean.
        ess: As many independent draws would know it as well, sd² / mcse².
        se: ``mcse``, widened for its own error (``student_t_inflation``).
    """

    mcse: float
    ess: float
    se: float


def mean_error(signal: Floats, full_signal: Floats) -> MeanError:
    """Return the error of the signal's mean.

    Where noise hides what moves slowly, it is that of the draws or that of ``BLOCKS`` means per
    chain, whichever is more.

    Args:
        signal: Draws, each on its own batch.
        full_signal: The same on a fixed set of batches.

    Shapes:
        signal: (chain, draw). full_signal: (chain, look).
    """
    views = [signal]
    size = signal.shape[1] // BLOCKS
    if size > 1 and full_signal.var() < HIDDEN * signal.var():
        whole = signal[:, : signal.shape[1] // size * size]
        views.append(whole.reshape(len(signal), -1, size).mean(axis=2))
    ess = [effective_draws(view) for view in views]
    errors = [view.std(ddof=1) / np.sqrt(n) for view, n in zip(views, ess, strict=True)]
    worst = int(np.argmax(errors))
    mcse = float(errors[worst])
    return MeanError(
        mcse, float(signal.var(ddof=1)) / mcse**2, mcse * student_t_inflation(ess[worst])
    )


DRAWS_PER_FREEDOM = 8.0
"""Effective draws per degree of freedom of a standard error, which itself is off by 2 / √ESS, since
autocorrelations are estimated too. Spread of the claims over their mean, 300 to 400 sets of 4
chains (2 / √ESS): AR(1) squares .29 at ESS 34 (.34), .23 at 68 (.24) and .19 at 136 (.17); the
quadratic gate .30 at 71 (.24), deep linear gates .17 at 287 (.12) and .19 at 437 (.10)."""


def student_t_inflation(num_effective: float) -> float:
    """Return by what sd / √ESS must grow so that ± 1.96 of it hold the mean 95 times in 100.

    The quantile of Student's t over that of the normal law, for an error that is itself uncertain.

    Example:
        >>> [round(widening(ess), 2) for ess in (16, 50, 100, 1000)]
        [2.2, 1.24, 1.11, 1.01]
    """
    freedom = max(num_effective / DRAWS_PER_FREEDOM, 1.0)
    return float(stdtrit(freedom, 0.975) / ndtri(0.975))


def gamma_ratio(full_signal: Floats) -> float:
    """Return Var/mean of the signal; 1 at equilibrium, where it follows Gamma(λ, 1).

    Shapes:
        full_signal: (chain, look).

    Source:
        science.md §1.2; Watanabe 2009: nβ (L(w) − L(w*)) → Gamma(λ, 1), multiplicity 1.
    """
    mean = float(full_signal.mean())
    return float(full_signal.var(ddof=1)) / mean if full_signal.size > 1 and mean > 0 else np.nan


def gamma_ratio_se(value: float, num_effective: float) -> float:
    """Return the standard error that ``gamma_ratio`` has for true Gamma(value, 1) draws.

    By the delta method, Var(s²/m) ≈ (2 + 3/λ) / N: the sample variance has relative variance
    (2 + 6/λ)/N, the mean 1/(λN), and their relative covariance is 2/(λN).

    Example:
        >>> round(gamma_ratio_se(10.0, 100.0), 3)
        0.152
    """
    if not (value > 0 and num_effective > 0):
        return float("inf")
    return float(np.sqrt((2 + 3 / value) / num_effective))


def drift(signal: Floats) -> tuple[float, float]:
    """Return how far the last third of the draws lies above the first, and its standard error.

    Shapes:
        signal: (chain, draw).
    """
    third = signal.shape[1] // 3
    if third < 4:
        return 0.0, float("inf")
    first, last = signal[:, :third], signal[:, -third:]
    variance = sum(part.var(ddof=1) / effective_draws(part) for part in (first, last))
    return float(last.mean() - first.mean()), float(np.sqrt(variance))


def is_constant(signal: Floats) -> bool:
    """Say whether all draws are equal."""
    return bool(np.ptp(signal) == 0.0)


def _array_stats() -> Any:
    from arviz_stats.base.array import (
        array_stats,
    )  # imports xarray where installed: not at import time

    return array_stats


def mean_of_finite(values: Floats) -> float:
    """Return the mean of what is finite; NaN if nothing is."""
    finite = values[np.isfinite(values)]
    with np.errstate(over="ignore"):
        return float(finite.mean()) if finite.size else float("nan")
