"""What speaks against an estimate from finite chains: one small function per check.

Every doubt names the finding, its usual cause, and the setting to change.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np

from devtrack.sampling.diagnostics import _thresholds as bands
from devtrack.sampling.diagnostics._statistics import (
    Floats,
    drift,
    effective_draws,
    gamma_ratio_se,
    is_constant,
)
from devtrack.sampling.diagnostics.warning_codes import QualityWarning, WarningCode


class CheckInputs(NamedTuple):
    """All that the checks look at; see ``Diagnosis`` and ``ChainObservables`` for the words.

    Shapes:
        signal, anharmonic: (chain, draw). full_signal, slope: (chain, look). Failed chains are left
        out.
    """

    signal: Floats
    full_signal: Floats
    value: float
    se: float
    rhat: float
    ess: float
    gamma_ratio: float
    first_order: Floats
    step_bias: float
    localization_virial: float
    equilibrated_fraction: float
    anharmonic: Floats
    num_parameters: int


def warnings(inputs: CheckInputs, *, checks: Literal["on", "off"] = "on") -> list[QualityWarning]:
    """Return what speaks against an estimate; none if it is good.

    Args:
        inputs: All that is known of it.
        checks: ``off``: those only that a single short chain can bear.
    """
    if is_constant(inputs.signal):
        never = (
            "nβ (L(w) − L(w*)) never changed: n_beta is 0, the loss does not depend on the sampled "
            "weights, or lr is too small to move them"
        )
        return [QualityWarning(WarningCode.CONSTANT, never)]
    asked = _CHECKS if checks == "on" else _CHECKS_OF_ANY_CHAIN
    return [warning for check in asked for warning in check(inputs)]


def _rhat_and_ess(inputs: CheckInputs) -> Iterator[QualityWarning]:
    if not inputs.rhat <= bands.RHAT_MAX:
        yield QualityWarning(
            WarningCode.HIGH_RHAT,
            f"R-hat {inputs.rhat:.2f} > {bands.RHAT_MAX:g}: chains disagree; raise "
            "num_burnin_steps and num_draws, or localization",
        )
    if not inputs.ess >= bands.ESS_MIN:
        yield QualityWarning(
            WarningCode.LOW_ESS,
            f"{inputs.ess:.0f} effective draws < {bands.ESS_MIN:g}: chains move too slowly; raise "
            "num_draws or lr",
        )


def _gamma_ratio(inputs: CheckInputs) -> Iterator[QualityWarning]:
    ratio = inputs.gamma_ratio
    if np.isnan(ratio):
        return  # a negative mean: its own reason is given
    margin = bands.GAMMA_SIGMAS * gamma_ratio_se(
        inputs.value, min(inputs.ess, inputs.full_signal.size)
    )
    if ratio > bands.GAMMA_MAX + margin:
        yield QualityWarning(
            WarningCode.GAMMA_RATIO_HIGH,
            f"Gamma ratio {ratio:.2f} > {bands.GAMMA_MAX:g}: lr too large for the curvature, or "
            "chains left the neighbourhood of w*; lower lr, or raise localization",
        )
    if ratio < bands.GAMMA_MIN - margin:
        yield QualityWarning(
            WarningCode.GAMMA_RATIO_LOW,
            f"Gamma ratio {ratio:.2f} < {bands.GAMMA_MIN:g}: chains have not mixed, or localization"
            " dominates; raise num_draws or lr, or lower localization",
        )


def _drift(inputs: CheckInputs) -> Iterator[QualityWarning]:
    moved, moved_se = drift(inputs.signal)
    if abs(moved) > max(bands.DRIFT_SIGMAS * moved_se, bands.DRIFT_SHARE * abs(inputs.value)):
        yield QualityWarning(
            WarningCode.DRIFT,
            f"still drifting after burn-in ({moved:+.2g} from first to last third): raise "
            "num_burnin_steps, or localization if the loss keeps rising",
        )


def _negative_llc(inputs: CheckInputs) -> Iterator[QualityWarning]:
    below = float((inputs.full_signal < 0).mean())
    if inputs.value < 0 or below > bands.BELOW_SHARE:
        yield QualityWarning(
            WarningCode.NEGATIVE_LLC,
            f"{below:.0%} of draws lie below L(w*), λ̂ = {inputs.value:.3g}: w* is not a minimum of "
            "the sampling loss; train longer, sample on the training data, or raise localization",
        )


def _nonzero_gradient(inputs: CheckInputs) -> Iterator[QualityWarning]:
    """Doubt a point on a slope: the chains slide down, and λ̂ lacks what they gain.

    Where nβ ∇L(w*) ≠ 0, the chains' mean moves by −nβ (nβH + γ)⁻¹ ∇L(w*), and L falls by
    first order in that. A curvature that makes up for it hides the fall from ``_negative_llc``.
    """
    if not np.isfinite(inputs.first_order).all():
        return
    taken = -float(inputs.first_order.mean())
    enough = inputs.first_order.shape[1] >= 4 and not is_constant(inputs.first_order)
    ess = effective_draws(inputs.first_order) if enough else float("nan")
    taken_se = float(inputs.first_order.std()) / np.sqrt(ess) if ess > 0 else np.inf
    if taken > max(bands.SLOPE_SIGMAS * taken_se, bands.SLOPE_SHARE * abs(inputs.value)):
        yield QualityWarning(
            WarningCode.NONZERO_GRADIENT,
            f"the slope at w* lowers λ̂ by about {taken:.2g}: w* is not a minimum of the sampling "
            "loss; train longer, sample on the training data, or raise localization",
        )


def _step_bias(inputs: CheckInputs) -> Iterator[QualityWarning]:
    if inputs.step_bias > bands.STEP_BIAS_SHARE * abs(inputs.value):
        yield QualityWarning(
            WarningCode.STEP_BIAS,
            f"the step size adds about {inputs.step_bias:.2g} to λ̂: lr too large, or batches too "
            "noisy; lower lr, or raise batch_size",
        )


def _repelled(inputs: CheckInputs) -> Iterator[QualityWarning]:
    if inputs.localization_virial > bands.PULL_MAX:
        yield QualityWarning(
            WarningCode.REPELLED,
            f"chains lie {inputs.localization_virial:.1f} times farther from w* than the "
            f"pull alone allows: the "
            "loss drives them away; raise localization, or lower n_beta",
        )


def _not_equilibrated(inputs: CheckInputs) -> Iterator[QualityWarning]:
    """Doubt chains that have not spread in many directions: what holds them there is unseen."""
    virial = 2 * (inputs.anharmonic + inputs.signal)  # nβ ∇L·(w − w*)
    if not np.isfinite(virial).all():
        return
    error = virial.std() / np.sqrt(effective_draws(virial)) / inputs.num_parameters
    least = bands.SETTLED_MIN if inputs.localization_virial > 0 else bands.SETTLED_MIN_UNPULLED
    if inputs.equilibrated_fraction + bands.SETTLED_SIGMAS * error < least:
        unsettled = f"{1 - inputs.equilibrated_fraction:.0%} of the directions have not settled"
        if inputs.localization_virial > 0:
            yield QualityWarning(
                WarningCode.NOT_EQUILIBRATED,
                f"{unsettled}: chains still spread there, and λ̂ lacks what they have not met; "
                "raise localization, num_burnin_steps or lr, or lower n_beta",
            )
        else:
            without = "without a pull nothing holds the chains there; raise localization"
            yield QualityWarning(WarningCode.NOT_EQUILIBRATED, f"{unsettled}: {without}")


def _escaping(inputs: CheckInputs) -> Iterator[QualityWarning]:
    grown, grown_se = drift(inputs.anharmonic)
    if grown > max(bands.GROWTH_SIGMAS * grown_se, bands.GROWTH_SHARE * abs(inputs.value)):
        yield QualityWarning(
            WarningCode.ESCAPING,
            "chains keep leaving the neighbourhood of w* (λ̂'s anharmonic part grew by "
            f"{grown:.2g} from first to last third): localization too small, or lr too large; "
            "raise localization",
        )


def _above_bound(inputs: CheckInputs) -> Iterator[QualityWarning]:
    most = inputs.num_parameters / 2
    if inputs.value - bands.BOUND_SIGMAS * inputs.se > most:
        beyond = f"λ̂ exceeds its bound parameters / 2 = {most:g}: lr too large; lower it"
        yield QualityWarning(WarningCode.ABOVE_BOUND, beyond)


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
_CHECKS_OF_ANY_CHAIN = (_negative_llc, _step_bias, _above_bound)
