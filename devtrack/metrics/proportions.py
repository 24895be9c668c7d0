"""The standard error of a share."""

from __future__ import annotations

import math


def binomial_se(share: float, count: int) -> float:
    """Return the standard error of a share of ``count`` independent samples.

    Two successes and two failures are added, so that 0 and 1 are not reported as exact.

    Source:
        Agresti & Coull 1998 (The American Statistician 52).
    """
    adjusted = (share * count + 2) / (count + 4)
    return math.sqrt(adjusted * (1 - adjusted) / (count + 4))
