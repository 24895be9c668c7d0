"""What may speak against an estimate, by name: for code that acts on it."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class WarningCode(StrEnum):
    """One for every check."""

    NON_FINITE = "non_finite"  # chains without a number
    DIVERGED = "diverged"  # chains far beyond what any minimum allows
    CONSTANT = "constant"  # the signal never changed
    HIGH_RHAT = "disagree"  # R-hat
    LOW_ESS = "slow"  # too few effective draws
    GAMMA_RATIO_HIGH = "wide"  # Gamma ratio above its band
    GAMMA_RATIO_LOW = "narrow"  # Gamma ratio below its band
    DRIFT = "drifting"  # from the first draws to the last
    NEGATIVE_LLC = "below"  # draws below L(w*)
    NONZERO_GRADIENT = "slope"  # λ̂ lacks what the slope at w* takes
    STEP_BIAS = "hot"  # what the step size adds to λ̂
    REPELLED = "driven"  # farther from w* than the pull alone allows
    NOT_EQUILIBRATED = "unsettled"  # directions that chains have not spread along
    ESCAPING = "leaving"  # what is not quadratic keeps growing
    ABOVE_BOUND = "bound"  # λ̂ beyond parameters / 2
    LEFT_BASIN = "astray"  # in calibration: a loss nearer to that of an untrained network
    LOCALIZATION_DOMINATED = (
        "pulled"  # in calibration: hardly anything but the pull holds the chains
    )


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
"""What a smaller step may mend."""

TOO_SMALL_STEP = frozenset({WarningCode.LOW_ESS, WarningCode.NOT_EQUILIBRATED})
"""What a smaller step makes worse, over as many draws."""

TOO_FEW_DRAWS = frozenset(
    {
        WarningCode.HIGH_RHAT,
        WarningCode.LOW_ESS,
        WarningCode.GAMMA_RATIO_LOW,
        WarningCode.DRIFT,
        WarningCode.NOT_EQUILIBRATED,
    }
)
"""What more draws may mend."""


class QualityWarning(NamedTuple):
    """What speaks against an estimate.

    Attributes:
        code: Which check says so.
        message: Finding, usual cause, and the setting to change.
    """

    code: WarningCode
    message: str
