"""How far sampled chains can be trusted: arrays of (chain, draw) in, numbers and reasons out.

The unit is that of the LLC: ``signal`` = nβ (L(w_t) − L(w*)), draw by draw, burn-in left out.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from devtrack.errors import ConfigError
from devtrack.rows import Status

Floats = npt.NDArray[np.floating]

RHAT_MAX = 1.1
"""Between-chain disagreement. R-hat² ≈ 1 + chains / ESS, so this agrees with ``ESS_MIN``; the
stricter 1.01 (Vehtari et al. 2021) is for tail quantiles, here only a mean is asked for."""

ESS_MIN = 25.0
"""Effective draws below which the standard error is itself off by over 14 % (1 / √(2 ESS))."""

GAMMA_MIN, GAMMA_MAX = 0.2, 2.0
"""Band of Var/mean of the noiseless signal. nβ ΔL ~ Gamma(λ, 1) at equilibrium gives 1; a step that
is too large multiplies variance, an unmixed chain has too little. Localisation lowers it without
fault: with s = nβ h / (nβ h + γ), curvature h counts s in the mean and s² in the variance."""

GAMMA_SIGMAS = 3.0
"""The ratio must also leave the band by this many of its own standard errors."""

DRIFT_SIGMAS = 4.0
DRIFT_SHARE = 0.2
"""First and last third of the draws differ: by this many standard errors, and this share of λ̂."""

BELOW_SHARE = 0.5
"""Share of draws below L(w*) above which w* is no minimum of the sampling loss."""

BOUND_SIGMAS = 3.0
"""λ ≤ (number of parameters) / 2 at a minimum, whatever the model: more is an artefact."""

DIVERGED_FACTOR = 10.0
"""A chain whose mean exceeds this many times parameters / 2 has left the neighbourhood of w*."""


class Diagnosis(NamedTuple):
    """An estimate and what speaks for and against it.

    Attributes:
        value: λ̂, the mean signal over the chains that hold; NaN if none does.
        se: Standard error of ``value``.
        rhat: Rank-normalised split R-hat (1 is perfect).
        ess: Effective number of independent draws for the mean, over all chains.
        mcse: Monte Carlo standard error of the mean, sd / √ess.
        gamma_ratio: Var/mean of the noiseless signal.
        chain_values: λ̂ of every chain; NaN for a chain that failed.
        status: Trust in ``value``.
        reasons: What speaks against it: finding, usual cause, setting to change.
    """

    value: float
    se: float
    rhat: float
    ess: float
    mcse: float
    gamma_ratio: float
    chain_values: tuple[float, ...]
    status: Status
    reasons: tuple[str, ...]


def diagnose(
    signal: Floats,
    full_signal: Floats,
    *,
    num_parameters: int,
    checks: Literal["on", "off"] = "on",
) -> Diagnosis:
    """Turn chains into an estimate with a standard error and a status.

    Failed chains (non-finite, or diverged) are left out and named; they are never averaged in and
    never replaced by a number.

    Args:
        signal: nβ (L(w_t) − L(w*)) on each draw's own batch.
        full_signal: The same on a fixed set of batches, at some of the draws: free of the noise
            that the choice of batch adds.
        num_parameters: Weights that were sampled.
        checks: ``off`` looks for failed chains only, and allows a single chain.

    Shapes:
        signal: (chain, draw). full_signal: (chain, look).

    Raises:
        ConfigError: If there is one chain only and ``checks`` is on.
    """
    if checks == "on":
        require_chains(len(signal))
    chain_values = _means_or_nan(signal, full_signal)
    failures, holds = _failed_chains(chain_values, num_parameters)
    if not holds.any():
        nan = float("nan")
        return Diagnosis(
            nan, nan, nan, nan, nan, nan, tuple(chain_values), Status.FAILED, tuple(failures)
        )
    signal, full_signal = signal[holds], full_signal[holds]
    value = float(signal.mean())
    ess = effective_draws(signal)
    mcse = float(signal.std(ddof=1) / np.sqrt(ess)) if ess > 0 else float("nan")
    estimate = Diagnosis(
        value=value,
        se=mcse,
        rhat=split_rhat(signal),
        ess=ess,
        mcse=mcse,
        gamma_ratio=gamma_ratio(full_signal),
        chain_values=tuple(chain_values),
        status=Status.OK,
        reasons=(),
    )
    if checks == "off":
        return estimate._replace(
            reasons=tuple(failures), status=Status.SUSPECT if failures else Status.OK
        )
    reasons = (*failures, *_doubts(estimate, signal, full_signal, num_parameters))
    return estimate._replace(reasons=reasons, status=Status.SUSPECT if reasons else Status.OK)


def require_chains(num_chains: int) -> None:
    """Refuse a single chain.

    Raises:
        ConfigError: If ``num_chains`` is below 2.
    """
    if num_chains < 2:
        raise ConfigError(
            f"num_chains={num_chains}: R-hat needs at least 2 chains. Use num_chains=4, or "
            'diagnostics="off".'
        )


def split_rhat(signal: Floats) -> float:
    """Return the rank-normalised split R-hat; NaN for constant chains.

    Shapes:
        signal: (chain, draw).

    Source:
        Vehtari et al. 2021 (arXiv:1903.08008), as arviz-stats computes it.
    """
    if _is_constant(signal) or signal.shape[1] < 4:
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
    if _is_constant(signal) or signal.shape[1] < 4:
        return float("nan")
    scaled = signal / signal.std()  # arviz-stats takes a spread below 1e-15 for a constant
    return float(_array_stats().ess(scaled, chain_axis=0, draw_axis=1, method="mean"))


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


def _failed_chains(
    chain_values: Floats, num_parameters: int
) -> tuple[list[str], npt.NDArray[np.bool_]]:
    num_chains = len(chain_values)
    finite = np.isfinite(chain_values)
    with np.errstate(invalid="ignore"):
        diverged = finite & (chain_values > DIVERGED_FACTOR * num_parameters / 2)
    reasons = []
    if not finite.all():
        reasons.append(
            f"{(~finite).sum()} of {num_chains} chains non-finite: lr, n_beta or localization too "
            "large, or NaN in the data; lower lr first"
        )
    if diverged.any():
        reasons.append(
            f"{diverged.sum()} of {num_chains} chains diverged (mean beyond {DIVERGED_FACTOR:g} × "
            "parameters / 2): lr too large, or localization too small; lower lr first"
        )
    return reasons, finite & ~diverged


def _doubts(
    estimate: Diagnosis, signal: Floats, full_signal: Floats, num_parameters: int
) -> list[str]:
    """Return the reasons to doubt an estimate from finite chains."""
    if _is_constant(signal):
        return ["the loss never changed: it does not depend on the sampled weights, or lr is 0"]
    reasons = []
    if not estimate.rhat <= RHAT_MAX:
        reasons.append(
            f"R-hat {estimate.rhat:.2f} > {RHAT_MAX:g}: chains disagree; raise num_burnin_steps "
            "and num_draws, or localization"
        )
    if not estimate.ess >= ESS_MIN:
        reasons.append(
            f"{estimate.ess:.0f} effective draws < {ESS_MIN:g}: chains move too slowly; raise "
            "num_draws or lr"
        )
    reasons += _gamma_doubts(estimate, full_signal)
    moved, moved_se = drift(signal)
    if abs(moved) > max(DRIFT_SIGMAS * moved_se, DRIFT_SHARE * abs(estimate.value)):
        reasons.append(
            f"still drifting after burn-in ({moved:+.2g} from first to last third): raise "
            "num_burnin_steps, or localization if the loss keeps rising"
        )
    below = float((full_signal < 0).mean())
    if estimate.value < 0 or below > BELOW_SHARE:
        reasons.append(
            f"{below:.0%} of draws lie below L(w*), λ̂ = {estimate.value:.3g}: w* is not a minimum "
            "of the sampling loss; train longer, sample on the training data, or raise localization"
        )
    if estimate.value - BOUND_SIGMAS * estimate.se > num_parameters / 2:
        reasons.append(
            f"λ̂ exceeds its bound parameters / 2 = {num_parameters / 2:g}: lr too large; lower it"
        )
    return reasons


def _gamma_doubts(estimate: Diagnosis, full_signal: Floats) -> list[str]:
    ratio = estimate.gamma_ratio
    if np.isnan(ratio):
        return []  # a negative mean: its own reason is given
    se = gamma_ratio_se(estimate.value, min(estimate.ess, full_signal.size))
    if ratio > GAMMA_MAX + GAMMA_SIGMAS * se:
        return [
            f"Gamma ratio {ratio:.2f} > {GAMMA_MAX:g}: lr too large for the curvature, or chains "
            "left the neighbourhood of w*; lower lr, or raise localization"
        ]
    if ratio < GAMMA_MIN - GAMMA_SIGMAS * se:
        return [
            f"Gamma ratio {ratio:.2f} < {GAMMA_MIN:g}: chains have not mixed, or localization "
            "dominates; raise num_draws or lr, or lower localization"
        ]
    return []


def _means_or_nan(signal: Floats, full_signal: Floats) -> Floats:
    finite = np.isfinite(signal).all(axis=1) & np.isfinite(full_signal).all(axis=1)  # (chain,)
    with np.errstate(invalid="ignore", over="ignore"):
        return np.where(finite, signal.mean(axis=1), np.nan)


def _is_constant(signal: Floats) -> bool:
    return bool(np.ptp(signal) == 0.0)


def _array_stats() -> Any:
    from arviz_stats.base.array import (
        array_stats,
    )  # imports xarray where installed: not at import time

    return array_stats
