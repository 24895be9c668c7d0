"""Statistics of sampled chains: arrays of (chain, draw) in, numbers out."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri, stdtrit

from devtrack.sampling.diagnostics.config import DEFAULT, DiagnosticsConfig

Floats = npt.NDArray[np.floating]


def split_rhat(draws: Floats) -> float:
    """Return the rank-normalised split R-hat; NaN for constant chains.

    Shapes:
        draws: (chain, draw).

    Source:
        Vehtari et al. 2021 (arXiv:1903.08008), as arviz-stats computes it.
    """
    if is_constant(draws) or draws.shape[1] < 4:
        return float("nan")
    return float(_array_stats().rhat(draws, chain_axis=0, draw_axis=1))


def effective_draws(draws: Floats) -> float:
    """Return the effective sample size for the mean, over all chains; NaN for constant chains.

    It counts disagreement between chains as well as autocorrelation within them. The variance that
    autocorrelations are compared with includes the spread of the chain means. The error sd / √ess
    therefore stays correct when chains explore different regions. The spread of the chain means
    alone would be a much noisier measure, because chains are few.

    Shapes:
        draws: (chain, draw).

    Source:
        Vehtari et al. 2021, section 3.
    """
    if is_constant(draws) or draws.shape[1] < 4:
        return float("nan")
    scaled = draws / draws.std()  # arviz-stats takes a spread below 1e-15 for a constant
    return float(_array_stats().ess(scaled, chain_axis=0, draw_axis=1, method="mean"))


class MeanError(NamedTuple):
    """Errors of the mean of correlated draws; NaN for constant chains.

    Attributes:
        mcse: Monte Carlo standard error of the mean.
        ess: Number of independent draws with the same error, sd² / mcse².
        se: ``mcse``, inflated for its own uncertainty (``student_t_inflation``).
    """

    mcse: float
    ess: float
    se: float


def mean_error(
    draws: Floats, full_draws: Floats, *, thresholds: DiagnosticsConfig = DEFAULT
) -> MeanError:
    """Return the error of the mean draw.

    Batch noise can mask a slow part of the draws: autocorrelations of the slow part are then
    smaller than their own error, 1 / √draws. Means over blocks contain less of that noise. Where
    the full-data draws show that noise dominates, the larger of both errors is returned.

    Args:
        draws: Draws, each on its own batch.
        full_draws: The same on a fixed set of batches.
        thresholds: When and how blocks are formed.

    Shapes:
        draws: (chain, draw). full_draws: (chain, evaluation).
    """
    views = [draws]
    size = draws.shape[1] // thresholds.blocks_per_chain
    if size > 1 and full_draws.var() < thresholds.hidden_share * draws.var():
        whole_blocks = draws[:, : draws.shape[1] // size * size]
        views.append(whole_blocks.reshape(len(draws), -1, size).mean(axis=2))
    ess = [effective_draws(view) for view in views]
    errors = [view.std(ddof=1) / np.sqrt(n) for view, n in zip(views, ess, strict=True)]
    worst = int(np.argmax(errors))
    mcse = float(errors[worst])
    inflation = student_t_inflation(ess[worst], thresholds=thresholds)
    return MeanError(mcse, float(draws.var(ddof=1)) / mcse**2, mcse * inflation)


def student_t_inflation(num_effective: float, *, thresholds: DiagnosticsConfig = DEFAULT) -> float:
    """Return the factor by which sd / √ESS must grow so that ± 1.96 of it covers 95 %.

    It is the ratio of Student's t quantile to the normal one. A standard error is itself uncertain
    by about 2 / √ESS, because autocorrelations are estimated too.

    Example:
        >>> [round(student_t_inflation(ess), 2) for ess in (16, 50, 100, 1000)]
        [2.2, 1.24, 1.11, 1.01]
    """
    freedom = max(num_effective / thresholds.draws_per_degree_of_freedom, 1.0)
    return float(stdtrit(freedom, 0.975) / ndtri(0.975))


def gamma_ratio(full_draws: Floats) -> float:
    """Return Var/mean of the draws; 1 at equilibrium, where they follow Gamma(λ, 1).

    Shapes:
        full_draws: (chain, evaluation).

    Source:
        Watanabe 2009: nβ (L(w) − L(w*)) → Gamma(λ, 1), at multiplicity 1.
    """
    mean = float(full_draws.mean())
    has_ratio = full_draws.size > 1 and mean > 0
    return float(full_draws.var(ddof=1)) / mean if has_ratio else np.nan


def gamma_ratio_se(value: float, num_effective: float) -> float:
    """Return the standard error of ``gamma_ratio`` for true Gamma(value, 1) draws.

    By the delta method, Var(s²/m) ≈ (2 + 3/λ) / N. The sample variance has relative variance
    (2 + 6/λ)/N and the mean 1/(λN). Their relative covariance is 2/(λN).

    Example:
        >>> round(gamma_ratio_se(10.0, 100.0), 3)
        0.152
    """
    if not (value > 0 and num_effective > 0):
        return float("inf")
    return float(np.sqrt((2 + 3 / value) / num_effective))


def drift(draws: Floats) -> tuple[float, float]:
    """Return the mean of the last third of the draws less that of the first, and its error.

    Shapes:
        draws: (chain, draw).
    """
    third = draws.shape[1] // 3
    if third < 4:
        return 0.0, float("inf")
    first, last = draws[:, :third], draws[:, -third:]
    variance = sum(part.var(ddof=1) / effective_draws(part) for part in (first, last))
    return float(last.mean() - first.mean()), float(np.sqrt(variance))


def is_constant(draws: Floats) -> bool:
    """Say whether all draws are equal."""
    return bool(np.ptp(draws) == 0.0)


def mean_of_finite(values: Floats) -> float:
    """Return the mean of the finite values; NaN if there are none."""
    finite = values[np.isfinite(values)]
    with np.errstate(over="ignore"):
        return float(finite.mean()) if finite.size else float("nan")


def _array_stats() -> Any:
    from arviz_stats.base.array import array_stats  # imports xarray where it is installed

    return array_stats
