"""Judge sampled chains: arrays of (chain, draw) in, an estimate with its warnings out.

The unit is that of the LLC: draws are nβ (L(w_t) − L(w*)), without burn-in.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from devtrack.errors import ConfigError
from devtrack.records import Status
from devtrack.sampling.diagnostics._checks import CheckInputs, run_checks
from devtrack.sampling.diagnostics._failures import ChainFailures, failed_chains
from devtrack.sampling.diagnostics._observables import ChainObservables
from devtrack.sampling.diagnostics._statistics import Floats, gamma_ratio, mean_error, split_rhat
from devtrack.sampling.diagnostics.config import DEFAULT, DiagnosticsConfig
from devtrack.sampling.diagnostics.warning_codes import QualityWarning


class Diagnosis(NamedTuple):
    """An estimate, its error, and its quality warnings.

    Attributes:
        value: λ̂, the mean draw over the chains that count; NaN if none does.
        se: Standard error of ``value``: ``mcse``, inflated for its own uncertainty. ± 1.96 se
            covers the long-run mean of the chains with probability 0.95.
        rhat: Rank-normalised split R-hat (1 is perfect).
        ess: Effective number of independent draws for the mean, over all chains.
        mcse: Monte Carlo standard error of the mean, sd / √ess.
        gamma_ratio: Var/mean of the full-data draws.
        chain_values: λ̂ of every chain; NaN for a chain that is not finite.
        status: Trust in ``value``.
        warnings: Findings of the quality checks.
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
        """Messages of the warnings."""
        return tuple(warning.message for warning in self.warnings)


def diagnose(
    draws: Floats,
    full_draws: Floats,
    *,
    num_parameters: int,
    observables: ChainObservables | None = None,
    failures: ChainFailures | None = None,
    checks: Literal["on", "off"] = "on",
    thresholds: DiagnosticsConfig = DEFAULT,
) -> Diagnosis:
    """Return the estimate from chains, with its standard error and status.

    Failed chains (not finite, or diverged) are left out and named. They are never averaged in and
    never replaced by a number.

    Args:
        draws: nβ (L(w_t) − L(w*)) on each draw's own batch.
        full_draws: The same on a fixed set of batches, at some of the draws. It has no noise from
            the choice of batch.
        num_parameters: Weights that were sampled.
        observables: Other observables of the chains; without them, checks that need them are
            skipped.
        failures: Chains that failed; found from the draws if None.
        checks: ``off`` allows a single chain and few draws, and skips the checks that need more.
        thresholds: Thresholds of the checks.

    Shapes:
        draws: (chain, draw). full_draws: (chain, evaluation).

    Raises:
        ConfigError: If there is only one chain and ``checks`` is on.
    """
    if checks == "on":
        require_chains(len(draws))
    if failures is None:
        failures = failed_chains(draws, full_draws, num_parameters, thresholds=thresholds)
    chain_values = _means_or_nan(draws, full_draws)
    is_valid = failures.is_valid
    if not is_valid.any():
        nan = float("nan")
        return Diagnosis(
            nan, nan, nan, nan, nan, nan, chain_values, Status.FAILED, failures.warnings
        )
    draws, full_draws = draws[is_valid], full_draws[is_valid]
    error = mean_error(draws, full_draws, thresholds=thresholds)
    inputs = CheckInputs(
        draws=draws,
        full_draws=full_draws,
        value=float(draws.mean()),
        se=error.se,
        rhat=split_rhat(draws),
        ess=error.ess,
        gamma_ratio=gamma_ratio(full_draws),
        observables=observables.of_chains(is_valid) if observables else ChainObservables(),
        num_parameters=num_parameters,
        thresholds=thresholds,
    )
    warnings = (*failures.warnings, *run_checks(inputs, checks=checks))
    return Diagnosis(
        value=inputs.value,
        se=inputs.se,
        rhat=inputs.rhat,
        ess=inputs.ess,
        mcse=error.mcse,
        gamma_ratio=inputs.gamma_ratio,
        chain_values=chain_values,
        status=Status.SUSPECT if warnings else Status.OK,
        warnings=warnings,
    )


def require_chains(num_chains: int) -> None:
    """Refuse fewer chains than R-hat can compare.

    Raises:
        ConfigError: If there is only one.
    """
    if num_chains < 2:
        raise ConfigError(
            f"num_chains={num_chains}: R-hat needs at least 2 chains. Use num_chains=4, or "
            'diagnostics="off".'
        )


def require_draws(num_draws: int) -> None:
    """Refuse fewer draws than split R-hat needs.

    Raises:
        ConfigError: If ``num_draws`` is below 4.
    """
    if num_draws < 4:
        raise ConfigError(
            f"num_draws={num_draws}: R-hat needs at least 4 draws of each chain. Use num_draws=200,"
            ' or diagnostics="off".'
        )


def _means_or_nan(draws: Floats, full_draws: Floats) -> tuple[float, ...]:
    finite = np.isfinite(draws).all(axis=1) & np.isfinite(full_draws).all(axis=1)  # (chain,)
    with np.errstate(invalid="ignore", over="ignore"):
        return tuple(np.where(finite, draws.mean(axis=1), np.nan))
