"""From chains to an LLC estimate: every quantity is computed once and carried along."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np

from devtrack.records import Status
from devtrack.sampling._control_variates import (
    Bools,
    Floats,
    LLCDraws,
    apply_control_variates,
    paired_draws,
)
from devtrack.sampling._discretization_bias import DiscretizationBias, discretization_bias
from devtrack.sampling._localization import localization_share
from devtrack.sampling.chain_record import Chains
from devtrack.sampling.config import SamplerConfig
from devtrack.sampling.diagnostics import (
    ChainObservables,
    Diagnosis,
    DiagnosticsConfig,
    QualityWarning,
    diagnose,
)
from devtrack.sampling.diagnostics._failures import failed_chains
from devtrack.sampling.diagnostics._statistics import mean_of_finite
from devtrack.sampling.diagnostics.config import DEFAULT


class LLCEstimate(NamedTuple):
    """An estimate of the LLC with all that it was derived from.

    Attributes:
        diagnosis: λ̂ with its error, status and warnings.
        draws: Draws whose mean is λ̂.
        bias: Predicted discretization bias; part of it is already subtracted from the draws.
        observables: Other observables of the chains.
        localization_share: Loss increase of the chains over that under the prior alone.
    """

    diagnosis: Diagnosis
    draws: LLCDraws
    bias: DiscretizationBias
    observables: ChainObservables
    localization_share: float

    @property
    def value(self) -> float:
        """λ̂; NaN if all chains failed."""
        return self.diagnosis.value

    @property
    def se(self) -> float:
        """Standard error of λ̂, with that of the subtracted bias."""
        return self.diagnosis.se

    @property
    def rhat(self) -> float:
        """Split R-hat."""
        return self.diagnosis.rhat

    @property
    def ess(self) -> float:
        """Effective draws over all chains."""
        return self.diagnosis.ess

    @property
    def gamma_ratio(self) -> float:
        """Var/mean of the full-data draws."""
        return self.diagnosis.gamma_ratio

    @property
    def status(self) -> Status:
        """Trust in λ̂."""
        return self.diagnosis.status

    @property
    def warnings(self) -> tuple[QualityWarning, ...]:
        """Findings of the quality checks."""
        return self.diagnosis.warnings

    @property
    def reasons(self) -> tuple[str, ...]:
        """Messages of the warnings."""
        return self.diagnosis.reasons


def estimate(
    chains: Chains,
    config: SamplerConfig,
    *,
    checks: Literal["on", "off"] = "on",
    thresholds: DiagnosticsConfig = DEFAULT,
) -> LLCEstimate:
    """Return λ̂ = nβ (E[L(w)] − L(w*)) with its error, status and warnings.

    λ̂ is the mean of the draws after control variates, or of the full-data evaluations. The
    predicted discretization bias is subtracted, up to ``step_bias_share`` of λ̂. An estimate with a
    larger bias is marked as suspect. Where the bias is unknown, nothing is subtracted.

    Args:
        chains: From ``sample`` with the same config.
        config: The sampler's hyperparameters.
        checks: See ``diagnose``.
        thresholds: Thresholds of the quality checks.

    Raises:
        ConfigError: If there is only one chain and ``checks`` is on.
    """
    paired = paired_draws(chains, num_burnin_steps=config.num_burnin_steps)
    with np.errstate(over="ignore", invalid="ignore"):  # chains on their way to infinity
        full_draws = chains.n_beta * (chains.full_loss - chains.full_baseline)
    on_full_data = config.evaluate_on == "full_data"
    failures = failed_chains(
        full_draws if on_full_data else paired,
        full_draws,
        chains.num_parameters,
        thresholds=thresholds,
    )
    is_valid = failures.is_valid
    draws = LLCDraws(full_draws, "all")
    if not on_full_data:
        draws = apply_control_variates(
            chains, paired, is_valid, num_burnin_steps=config.num_burnin_steps
        )
    bias = discretization_bias(chains, config, paired, is_valid)
    if is_valid.any():
        predicted = bias.from_step_size
        if not on_full_data:
            predicted = predicted + bias.from_minibatches
        draws = _subtract_bias(draws, predicted, is_valid, thresholds)
    chain_observables = observables(chains, config, paired, bias)
    diagnosis = diagnose(
        draws.values,
        full_draws,
        num_parameters=chains.num_parameters,
        observables=chain_observables,
        failures=failures,
        checks=checks,
        thresholds=thresholds,
    )
    diagnosis = diagnosis._replace(se=math.hypot(diagnosis.se, draws.removed_se))
    share = localization_share(chains, diagnosis.value)
    return LLCEstimate(diagnosis, draws, bias, chain_observables, share)


def observables(
    chains: Chains, config: SamplerConfig, paired: Floats, bias: DiscretizationBias
) -> ChainObservables:
    """Return the observables of the chains beside the loss.

    Integration by parts gives E[(w − w*)·(nβ ∇L + γ(w − w*))] = 1 per parameter at equilibrium, for
    every loss. A direction in which chains still diffuse contributes less. The mean is therefore
    the share of directions that reached equilibrium.

    Args:
        chains: From ``sample``.
        config: The sampler's hyperparameters.
        paired: nβ (L(w_t) − L(w*)) on each draw's own batch.
        bias: The predicted discretization bias.

    Shapes:
        paired: (chain, draw).
    """
    prior_virial = config.localization * mean_of_finite(chains.squared_distance)
    with np.errstate(over="ignore", invalid="ignore"):
        virial = chains.n_beta * chains.virial[:, config.num_burnin_steps :]
        anharmonic = 0.5 * virial - paired
        if config.evaluate_on == "full_data":  # one per evaluation, like the draws
            pieces = np.array_split(anharmonic, chains.full_loss.shape[1], axis=1)
            anharmonic = np.stack([piece.mean(axis=1) for piece in pieces], axis=1)
    return ChainObservables(
        first_order=chains.n_beta * chains.first_order,
        step_bias=bias.total,
        localization_virial=prior_virial / chains.num_parameters,
        equilibrated_fraction=(mean_of_finite(virial) + prior_virial) / chains.num_parameters,
        anharmonic=anharmonic,
    )


def _subtract_bias(
    draws: LLCDraws, predicted: Floats, is_valid: Bools, thresholds: DiagnosticsConfig
) -> LLCDraws:
    """Return the draws without the predicted bias, as far as it is small enough to be trusted.

    Shapes:
        predicted: (chain, evaluation), chains that count.
    """
    predicted = predicted[np.isfinite(predicted)]
    if not (predicted.size and predicted.mean() > 0):
        return draws
    share = thresholds.step_bias_share
    value = float(draws.values.mean(axis=1)[is_valid].mean())
    largest = share / (1 + share) * value
    removed = min(float(predicted.mean()), max(largest, 0.0))
    removed_se = removed / predicted.mean() * predicted.std() / math.sqrt(predicted.size)
    return draws._replace(
        values=draws.values - removed, step_bias_removed=removed, removed_se=float(removed_se)
    )
