"""Codes of the quality warnings, for code that acts on them."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class WarningCode(StrEnum):
    """One code for every check."""

    NON_FINITE = "non_finite"  # chains with NaN or infinity
    DIVERGED = "diverged"  # chains far beyond the bound parameters / 2
    CONSTANT = "constant"  # the loss never changed
    HIGH_RHAT = "high_rhat"  # chains disagree
    LOW_ESS = "low_ess"  # too few effective draws
    GAMMA_RATIO_HIGH = "gamma_ratio_high"
    GAMMA_RATIO_LOW = "gamma_ratio_low"
    DRIFT = "drift"  # from the first to the last third of the draws
    NEGATIVE_LLC = "negative_llc"  # λ̂ or most draws are below 0
    NONZERO_GRADIENT = "nonzero_gradient"  # ∇L(w*) lowers λ̂
    STEP_BIAS = "step_bias"  # the predicted bias from the step size is large
    REPELLED = "repelled"  # farther from w* than the prior alone allows
    NOT_EQUILIBRATED = "not_equilibrated"  # directions that have not reached equilibrium
    ESCAPING = "escaping"  # the anharmonic part of λ̂ keeps growing
    ABOVE_BOUND = "above_bound"  # λ̂ exceeds parameters / 2
    LEFT_BASIN = "left_basin"  # in calibration: the loss rises by what training has gained
    LOCALIZATION_DOMINATED = "localization_dominated"  # in calibration: the prior holds the chains


TOO_LARGE_STEP = frozenset(
    {
        WarningCode.NON_FINITE,
        WarningCode.DIVERGED,
        WarningCode.GAMMA_RATIO_HIGH,
        WarningCode.STEP_BIAS,
        WarningCode.ESCAPING,
        WarningCode.ABOVE_BOUND,
    }
)
"""Warnings that a smaller step size may remove."""

TOO_SMALL_STEP = frozenset({WarningCode.LOW_ESS, WarningCode.NOT_EQUILIBRATED})
"""Warnings that a smaller step size makes worse at the same number of draws."""

TOO_FEW_DRAWS = frozenset(
    {
        WarningCode.HIGH_RHAT,
        WarningCode.LOW_ESS,
        WarningCode.GAMMA_RATIO_LOW,
        WarningCode.DRIFT,
        WarningCode.NOT_EQUILIBRATED,
    }
)
"""Warnings that more draws may remove."""


class QualityWarning(NamedTuple):
    """A finding that makes an estimate suspect.

    Attributes:
        code: The check that found it.
        message: The finding, its usual cause, and the setting to change.
    """

    code: WarningCode
    message: str
