"""How far sampled chains can be trusted: arrays of (chain, draw) in, numbers and doubts out.

The unit is that of the LLC: ``signal`` = nβ (L(w_t) − L(w*)), draw by draw, burn-in left out.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from devtrack.errors import ConfigError
from devtrack.records import Status
from devtrack.sampling.diagnostics._checks import CheckInputs, warnings
from devtrack.sampling.diagnostics._failures import failed_chains
from devtrack.sampling.diagnostics._statistics import Floats, gamma_ratio, mean_error, split_rhat
from devtrack.sampling.diagnostics.warning_codes import QualityWarning


class ChainObservables(NamedTuple):
    """What else is known of the chains, where a sampler says so. NaN: unknown.

    Shapes:
        first_order: (chain, look). anharmonic: (chain, draw).

    Attributes:
        first_order: nβ ∇L(w*)·(w − w*); 0 at a minimum.
        step_bias: How much too high a finite step size makes the chains' loss, in units of λ̂; the
            signal may be without it already.
        localization_virial: γ E‖w − w*‖² / parameters.
        equilibrated_fraction: Share of the sampled directions that have come to rest.
        anharmonic: nβ (½ ∇L(w)·(w − w*) − L(w) + L(w*)); 0 where the loss is a quadratic.
    """

    first_order: npt.NDArray[np.floating]
    step_bias: float
    localization_virial: float
    equilibrated_fraction: float
    anharmonic: npt.NDArray[np.floating]


class Diagnosis(NamedTuple):
    """An estimate and what speaks for and against it.

    Attributes:
        value: λ̂, the mean signal over the chains that hold; NaN if none does.
        se: Standard error of ``value``: ``mcse``, widened for its own error, so that ± 1.96 se hold
            what the chains would find in the long run 95 times in 100.
        rhat: Rank-normalised split R-hat (1 is perfect).
        ess: Effective number of independent draws for the mean, over all chains.
        mcse: Monte Carlo standard error of the mean, sd / √ess.
        gamma_ratio: Var/mean of the noiseless signal.
        chain_values: λ̂ of every chain; NaN for a chain that failed.
        status: Trust in ``value``.
        warnings: What speaks against it.
    """

    value: float
    se: float
    rhat: float
    ess: float
    mcse: float
    gamma_ratio: float
    chain_values: tuple[float, ...]
    status: Status
    warnings: tuple[QualityWarning, ...]

    @property
    def reasons(self) -> tuple[str, ...]:
        """The doubts in sentences."""
        return tuple(warning.message for warning in self.warnings)


def diagnose(
    signal: Floats,
    full_signal: Floats,
    *,
    num_parameters: int,
    observables: ChainObservables | None = None,
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
        observables: What else is known of the chains; without it three checks are left out.
        checks: ``off`` allows a single chain and few draws, and leaves out what these cannot tell.

    Shapes:
        signal: (chain, draw). full_signal: (chain, look).

    Raises:
        ConfigError: If there is one chain only and ``checks`` is on.
    """
    if checks == "on":
        require_chains(len(signal))
    chain_values = _means_or_nan(signal, full_signal)
    failures, holds = failed_chains(chain_values, num_parameters)
    if not holds.any():
        nan = float("nan")
        return Diagnosis(
            nan, nan, nan, nan, nan, nan, tuple(chain_values), Status.FAILED, tuple(failures)
        )
    signal, full_signal = signal[holds], full_signal[holds]
    value = float(signal.mean())
    error = mean_error(signal, full_signal)
    estimate = Diagnosis(
        value=value,
        se=error.se,
        rhat=split_rhat(signal),
        ess=error.ess,
        mcse=error.mcse,
        gamma_ratio=gamma_ratio(full_signal),
        chain_values=tuple(chain_values),
        status=Status.OK,
        warnings=(),
    )
    first_order = observables.first_order[holds] if observables else np.full((1, 1), np.nan)
    evidence = CheckInputs(
        signal=signal,
        full_signal=full_signal,
        value=value,
        se=estimate.se,
        rhat=estimate.rhat,
        ess=error.ess,
        gamma_ratio=estimate.gamma_ratio,
        first_order=first_order,
        step_bias=observables.step_bias if observables else np.nan,
        localization_virial=observables.localization_virial if observables else np.nan,
        equilibrated_fraction=observables.equilibrated_fraction if observables else np.nan,
        anharmonic=observables.anharmonic[holds] if observables else np.full((1, 1), np.nan),
        num_parameters=num_parameters,
    )
    found = (*failures, *warnings(evidence, checks=checks))
    return estimate._replace(warnings=found, status=Status.SUSPECT if found else Status.OK)


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


def require_draws(num_draws: int) -> None:
    """Refuse fewer draws than halves of chains can be compared by.

    Raises:
        ConfigError: If ``num_draws`` is below 4.
    """
    if num_draws < 4:
        raise ConfigError(
            f"num_draws={num_draws}: R-hat needs at least 4 draws of each chain. Use num_draws=200,"
            ' or diagnostics="off".'
        )


def _means_or_nan(signal: Floats, full_signal: Floats) -> Floats:
    finite = np.isfinite(signal).all(axis=1) & np.isfinite(full_signal).all(axis=1)  # (chain,)
    with np.errstate(invalid="ignore", over="ignore"):
        return np.where(finite, signal.mean(axis=1), np.nan)
