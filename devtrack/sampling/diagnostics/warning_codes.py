"""What may speak against an estimate, by name: for code that acts on it."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Cause(StrEnum):
    """One for every check."""

    NON_FINITE = "non_finite"  # chains without a number
    DIVERGED = "diverged"  # chains far beyond what any minimum allows
    CONSTANT = "constant"  # the signal never changed
    DISAGREE = "disagree"  # R-hat
    SLOW = "slow"  # too few effective draws
    WIDE = "wide"  # Gamma ratio above its band
    NARROW = "narrow"  # Gamma ratio below its band
    DRIFTING = "drifting"  # from the first draws to the last
    BELOW = "below"  # draws below L(w*)
    SLOPE = "slope"  # λ̂ lacks what the slope at w* takes
    HOT = "hot"  # what the step size adds to λ̂
    DRIVEN = "driven"  # farther from w* than the pull alone allows
    UNSETTLED = "unsettled"  # directions that chains have not spread along
    LEAVING = "leaving"  # what is not quadratic keeps growing
    BOUND = "bound"  # λ̂ beyond parameters / 2
    ASTRAY = "astray"  # in calibration: a loss nearer to that of an untrained network
    PULLED = "pulled"  # in calibration: hardly anything but the pull holds the chains


TOO_LARGE_STEP = frozenset(
    {Cause.NON_FINITE, Cause.DIVERGED, Cause.WIDE, Cause.HOT, Cause.LEAVING, Cause.BOUND}
)
"""What a smaller step may mend."""

TOO_SMALL_STEP = frozenset({Cause.SLOW, Cause.UNSETTLED})
"""What a smaller step makes worse, over as many draws."""

TOO_FEW_DRAWS = frozenset(
    {Cause.DISAGREE, Cause.SLOW, Cause.NARROW, Cause.DRIFTING, Cause.UNSETTLED}
)
"""What more draws may mend."""


class Doubt(NamedTuple):
    """What speaks against an estimate.

    Attributes:
        cause: Which check says so.
        sentence: Finding, usual cause, and the setting to change.
    """

    cause: Cause
    sentence: str
