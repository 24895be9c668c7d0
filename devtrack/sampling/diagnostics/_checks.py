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
from devtrack.sampling.diagnostics.warning_codes import Cause, Doubt


class Evidence(NamedTuple):
    """All that the checks look at; see ``Diagnosis`` and ``Path`` for the words.

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
    slope: Floats
    step_bias: float
    localization_virial: float
    equilibrated_fraction: float
    anharmonic: Floats
    num_parameters: int


def doubts(seen: Evidence, *, checks: Literal["on", "off"] = "on") -> list[Doubt]:
    """Return what speaks against an estimate; none if it is good.

    Args:
        seen: All that is known of it.
        checks: ``off``: those only that a single short chain can bear.
    """
    if is_constant(seen.signal):
        never = (
            "nβ (L(w) − L(w*)) never changed: n_beta is 0, the loss does not depend on the sampled "
            "weights, or lr is too small to move them"
        )
        return [Doubt(Cause.CONSTANT, never)]
    asked = _CHECKS if checks == "on" else _CHECKS_OF_ANY_CHAIN
    return [doubt for check in asked for doubt in check(seen)]


def _mixing(seen: Evidence) -> Iterator[Doubt]:
    if not seen.rhat <= bands.RHAT_MAX:
        yield Doubt(
            Cause.DISAGREE,
            f"R-hat {seen.rhat:.2f} > {bands.RHAT_MAX:g}: chains disagree; raise num_burnin_steps "
            "and num_draws, or localization",
        )
    if not seen.ess >= bands.ESS_MIN:
        yield Doubt(
            Cause.SLOW,
            f"{seen.ess:.0f} effective draws < {bands.ESS_MIN:g}: chains move too slowly; raise "
            "num_draws or lr",
        )


def _spread(seen: Evidence) -> Iterator[Doubt]:
    ratio = seen.gamma_ratio
    if np.isnan(ratio):
        return  # a negative mean: its own reason is given
    margin = bands.GAMMA_SIGMAS * gamma_ratio_se(seen.value, min(seen.ess, seen.full_signal.size))
    if ratio > bands.GAMMA_MAX + margin:
        yield Doubt(
            Cause.WIDE,
            f"Gamma ratio {ratio:.2f} > {bands.GAMMA_MAX:g}: lr too large for the curvature, or "
            "chains left the neighbourhood of w*; lower lr, or raise localization",
        )
    if ratio < bands.GAMMA_MIN - margin:
        yield Doubt(
            Cause.NARROW,
            f"Gamma ratio {ratio:.2f} < {bands.GAMMA_MIN:g}: chains have not mixed, or localization"
            " dominates; raise num_draws or lr, or lower localization",
        )


def _drifting(seen: Evidence) -> Iterator[Doubt]:
    moved, moved_se = drift(seen.signal)
    if abs(moved) > max(bands.DRIFT_SIGMAS * moved_se, bands.DRIFT_SHARE * abs(seen.value)):
        yield Doubt(
            Cause.DRIFTING,
            f"still drifting after burn-in ({moved:+.2g} from first to last third): raise "
            "num_burnin_steps, or localization if the loss keeps rising",
        )


def _minimum(seen: Evidence) -> Iterator[Doubt]:
    below = float((seen.full_signal < 0).mean())
    if seen.value < 0 or below > bands.BELOW_SHARE:
        yield Doubt(
            Cause.BELOW,
            f"{below:.0%} of draws lie below L(w*), λ̂ = {seen.value:.3g}: w* is not a minimum of "
            "the sampling loss; train longer, sample on the training data, or raise localization",
        )


def _slope(seen: Evidence) -> Iterator[Doubt]:
    """Doubt a point on a slope: the chains slide down, and λ̂ lacks what they gain.

    Where nβ ∇L(w*) ≠ 0, the chains' mean moves by −nβ (nβH + γ)⁻¹ ∇L(w*), and L falls by
    first order in that. A curvature that makes up for it hides the fall from ``_minimum``.
    """
    if not np.isfinite(seen.slope).all():
        return
    taken = -float(seen.slope.mean())
    enough = seen.slope.shape[1] >= 4 and not is_constant(seen.slope)
    ess = effective_draws(seen.slope) if enough else float("nan")
    taken_se = float(seen.slope.std()) / np.sqrt(ess) if ess > 0 else np.inf
    if taken > max(bands.SLOPE_SIGMAS * taken_se, bands.SLOPE_SHARE * abs(seen.value)):
        yield Doubt(
            Cause.SLOPE,
            f"the slope at w* lowers λ̂ by about {taken:.2g}: w* is not a minimum of the sampling "
            "loss; train longer, sample on the training data, or raise localization",
        )


def _step(seen: Evidence) -> Iterator[Doubt]:
    if seen.step_bias > bands.STEP_BIAS_SHARE * abs(seen.value):
        yield Doubt(
            Cause.HOT,
            f"the step size adds about {seen.step_bias:.2g} to λ̂: lr too large, or batches too "
            "noisy; lower lr, or raise batch_size",
        )


def _pulled(seen: Evidence) -> Iterator[Doubt]:
    if seen.localization_virial > bands.PULL_MAX:
        yield Doubt(
            Cause.DRIVEN,
            f"chains lie {seen.localization_virial:.1f} times farther from w* than the "
            f"pull alone allows: the "
            "loss drives them away; raise localization, or lower n_beta",
        )


def _settled(seen: Evidence) -> Iterator[Doubt]:
    """Doubt chains that have not spread in many directions: what holds them there is unseen."""
    virial = 2 * (seen.anharmonic + seen.signal)  # nβ ∇L·(w − w*)
    if not np.isfinite(virial).all():
        return
    error = virial.std() / np.sqrt(effective_draws(virial)) / seen.num_parameters
    least = bands.SETTLED_MIN if seen.localization_virial > 0 else bands.SETTLED_MIN_UNPULLED
    if seen.equilibrated_fraction + bands.SETTLED_SIGMAS * error < least:
        unsettled = f"{1 - seen.equilibrated_fraction:.0%} of the directions have not settled"
        if seen.localization_virial > 0:
            yield Doubt(
                Cause.UNSETTLED,
                f"{unsettled}: chains still spread there, and λ̂ lacks what they have not met; "
                "raise localization, num_burnin_steps or lr, or lower n_beta",
            )
        else:
            without = "without a pull nothing holds the chains there; raise localization"
            yield Doubt(Cause.UNSETTLED, f"{unsettled}: {without}")


def _leaving(seen: Evidence) -> Iterator[Doubt]:
    grown, grown_se = drift(seen.anharmonic)
    if grown > max(bands.GROWTH_SIGMAS * grown_se, bands.GROWTH_SHARE * abs(seen.value)):
        yield Doubt(
            Cause.LEAVING,
            "chains keep leaving the neighbourhood of w* (λ̂'s anharmonic part grew by "
            f"{grown:.2g} from first to last third): localization too small, or lr too large; "
            "raise localization",
        )


def _bound(seen: Evidence) -> Iterator[Doubt]:
    most = seen.num_parameters / 2
    if seen.value - bands.BOUND_SIGMAS * seen.se > most:
        beyond = f"λ̂ exceeds its bound parameters / 2 = {most:g}: lr too large; lower it"
        yield Doubt(Cause.BOUND, beyond)


_CHECKS = (
    _mixing,
    _spread,
    _drifting,
    _minimum,
    _slope,
    _step,
    _pulled,
    _settled,
    _leaving,
    _bound,
)
_CHECKS_OF_ANY_CHAIN = (_minimum, _step, _bound)
