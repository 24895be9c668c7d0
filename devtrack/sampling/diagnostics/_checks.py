"""Quality checks of an estimate from finite chains: one small function per check.

Every warning names the finding, its usual cause, and the setting to change.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np

from devtrack.sampling.diagnostics._observables import ChainObservables
from devtrack.sampling.diagnostics._statistics import (
    Floats,
    drift,
    effective_draws,
    gamma_ratio_se,
    is_constant,
)
from devtrack.sampling.diagnostics.config import DEFAULT, DiagnosticsConfig
from devtrack.sampling.diagnostics.warning_codes import QualityWarning, WarningCode


class CheckInputs(NamedTuple):
    """All that the checks read; ``Diagnosis`` defines the terms. Failed chains are left out.

    Shapes:
        draws: (chain, draw). full_draws: (chain, evaluation).
    """

    draws: Floats
    full_draws: Floats
    value: float
    se: float
    rhat: float
    ess: float
    gamma_ratio: float
    observables: ChainObservables
    num_parameters: int
    thresholds: DiagnosticsConfig = DEFAULT


def run_checks(inputs: CheckInputs, *, checks: Literal["on", "off"] = "on") -> list[QualityWarning]:
    """Return the warnings about an estimate; none if it is good.

    Args:
        inputs: All that is known about it.
        checks: ``off``: only the checks for which a single short chain is enough.
    """
    if is_constant(inputs.draws):
        message = (
            "nβ (L(w) − L(w*)) never changed: n_beta is 0, the loss does not depend on the sampled "
            "weights, or lr is too small to move them"
        )
        return [QualityWarning(WarningCode.CONSTANT, message)]
    functions = _CHECKS if checks == "on" else _SINGLE_CHAIN_CHECKS
    return [warning for check in functions for warning in check(inputs)]


def _rhat_and_ess(inputs: CheckInputs) -> Iterator[QualityWarning]:
    limits = inputs.thresholds
    if not inputs.rhat <= limits.rhat_max:
        yield QualityWarning(
            WarningCode.HIGH_RHAT,
            f"R-hat {inputs.rhat:.2f} > {limits.rhat_max:g}: chains disagree; raise "
            "num_burnin_steps and num_draws, or localization",
        )
    if not inputs.ess >= limits.ess_min:
        yield QualityWarning(
            WarningCode.LOW_ESS,
            f"{inputs.ess:.0f} effective draws < {limits.ess_min:g}: chains move too slowly; raise "
            "num_draws or lr",
        )


def _gamma_ratio(inputs: CheckInputs) -> Iterator[QualityWarning]:
    limits, ratio = inputs.thresholds, inputs.gamma_ratio
    if np.isnan(ratio):
        return  # a negative mean has its own warning
    error = gamma_ratio_se(inputs.value, min(inputs.ess, inputs.full_draws.size))
    margin = limits.gamma_ratio_sigmas * error
    if ratio > limits.gamma_ratio_max + margin:
        yield QualityWarning(
            WarningCode.GAMMA_RATIO_HIGH,
            f"Gamma ratio {ratio:.2f} > {limits.gamma_ratio_max:g}: lr too large for the "
            "curvature, or chains left the neighbourhood of w*; lower lr, or raise localization",
        )
    if ratio < limits.gamma_ratio_min - margin:
        yield QualityWarning(
            WarningCode.GAMMA_RATIO_LOW,
            f"Gamma ratio {ratio:.2f} < {limits.gamma_ratio_min:g}: chains have not mixed, or "
            "localization dominates; raise num_draws or lr, or lower localization",
        )


def _drift(inputs: CheckInputs) -> Iterator[QualityWarning]:
    limits = inputs.thresholds
    change, change_se = drift(inputs.draws)
    allowed = max(limits.drift_sigmas * change_se, limits.drift_share * abs(inputs.value))
    if abs(change) > allowed:
        yield QualityWarning(
            WarningCode.DRIFT,
            f"still drifting after burn-in ({change:+.2g} from first to last third): raise "
            "num_burnin_steps, or localization if the loss keeps rising",
        )


def _negative_llc(inputs: CheckInputs) -> Iterator[QualityWarning]:
    share = float((inputs.full_draws < 0).mean())
    if inputs.value < 0 or share > inputs.thresholds.negative_share:
        yield QualityWarning(
            WarningCode.NEGATIVE_LLC,
            f"{share:.0%} of draws lie below L(w*), λ̂ = {inputs.value:.3g}: w* is not a minimum of "
            "the sampling loss; train longer, sample on the training data, or raise localization",
        )


def _nonzero_gradient(inputs: CheckInputs) -> Iterator[QualityWarning]:
    """Warn about a gradient at w*, which lowers λ̂.

    Where nβ ∇L(w*) ≠ 0, the mean of the chains moves by −nβ (nβH + γ)⁻¹ ∇L(w*). L then falls by
    first order in that. Curvature can hide the fall from ``_negative_llc``.
    """
    limits, first_order = inputs.thresholds, inputs.observables.first_order
    if not np.isfinite(first_order).all():
        return
    lost = -float(first_order.mean())
    can_estimate = first_order.shape[1] >= 4 and not is_constant(first_order)
    ess = effective_draws(first_order) if can_estimate else float("nan")
    lost_se = float(first_order.std()) / np.sqrt(ess) if ess > 0 else np.inf
    allowed = limits.first_order_share * abs(inputs.value)
    if lost > max(limits.first_order_sigmas * lost_se, allowed):
        yield QualityWarning(
            WarningCode.NONZERO_GRADIENT,
            f"the slope at w* lowers λ̂ by about {lost:.2g}: w* is not a minimum of the sampling "
            "loss; train longer, sample on the training data, or raise localization",
        )


def _step_bias(inputs: CheckInputs) -> Iterator[QualityWarning]:
    bias = inputs.observables.step_bias
    if bias > inputs.thresholds.step_bias_share * abs(inputs.value):
        yield QualityWarning(
            WarningCode.STEP_BIAS,
            f"the step size adds about {bias:.2g} to λ̂: lr too large, or batches too "
            "noisy; lower lr, or raise batch_size",
        )


def _repelled(inputs: CheckInputs) -> Iterator[QualityWarning]:
    virial = inputs.observables.localization_virial
    if virial > inputs.thresholds.localization_virial_max:
        yield QualityWarning(
            WarningCode.REPELLED,
            f"chains lie {virial:.1f} times farther from w* than localization "
            "alone allows: the loss repels them; raise localization, or lower n_beta",
        )


def _not_equilibrated(inputs: CheckInputs) -> Iterator[QualityWarning]:
    """Warn about directions without equilibrium: λ̂ lacks their share of the loss."""
    limits, observables = inputs.thresholds, inputs.observables
    virial = 2 * (observables.anharmonic + inputs.draws)  # nβ ∇L·(w − w*)
    if not np.isfinite(virial).all():
        return
    error = virial.std() / np.sqrt(effective_draws(virial)) / inputs.num_parameters
    has_prior = observables.localization_virial > 0
    least = limits.equilibrated_min if has_prior else limits.equilibrated_min_without_prior
    if not observables.equilibrated_fraction + limits.equilibrated_sigmas * error < least:
        return
    share = 1 - observables.equilibrated_fraction
    finding = f"{share:.0%} of the directions have not reached equilibrium"
    advice = (
        "chains still spread there, and λ̂ lacks what they have not explored; raise localization, "
        "num_burnin_steps or lr, or lower n_beta"
        if has_prior
        else "without localization nothing confines the chains there; raise localization"
    )
    yield QualityWarning(WarningCode.NOT_EQUILIBRATED, f"{finding}: {advice}")


def _escaping(inputs: CheckInputs) -> Iterator[QualityWarning]:
    limits = inputs.thresholds
    growth, growth_se = drift(inputs.observables.anharmonic)
    if growth > max(
        limits.anharmonic_sigmas * growth_se, limits.anharmonic_share * abs(inputs.value)
    ):
        yield QualityWarning(
            WarningCode.ESCAPING,
            "chains keep leaving the neighbourhood of w* (λ̂'s anharmonic part grew by "
            f"{growth:.2g} from first to last third): localization too small, or lr too large; "
            "raise localization",
        )


def _above_bound(inputs: CheckInputs) -> Iterator[QualityWarning]:
    """Warn about λ̂ > parameters / 2, which no minimum of any model allows."""
    bound = inputs.num_parameters / 2
    if inputs.value - inputs.thresholds.bound_sigmas * inputs.se > bound:
        message = f"λ̂ exceeds its bound parameters / 2 = {bound:g}: lr too large; lower it"
        yield QualityWarning(WarningCode.ABOVE_BOUND, message)


_CHECKS = (
    _rhat_and_ess,
    _gamma_ratio,
    _drift,
    _negative_llc,
    _nonzero_gradient,
    _step_bias,
    _repelled,
    _not_equilibrated,
    _escaping,
    _above_bound,
)
_SINGLE_CHAIN_CHECKS = (_negative_llc, _step_bias, _above_bound)
