"""The standard error of a share."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt


def binomial_se(share: float, count: float) -> float:
    """Return the standard error of a share of ``count`` independent samples.

    Two successes and two failures are added, so that 0 and 1 are not reported as exact.

    Source:
        Agresti & Coull 1998 (The American Statistician 52).
    """
    adjusted = (share * count + 2) / (count + 4)
    return math.sqrt(adjusted * (1 - adjusted) / (count + 4))


def clustered_se(right: npt.NDArray[np.floating], total: npt.NDArray[np.floating]) -> float:
    """Return the standard error of a share of rows of which those of one sample belong together.

    It is ``binomial_se`` of the rows divided by the design effect. That is how much more the share
    varies over samples than it would if all rows were independent. The effect lies between 1 and
    the mean
    number of rows per sample, which is taken where all rows or none are right.

    Args:
        right, total: Rows of each sample, (sample,).

    Source:
        Kish 1965, Survey Sampling, §5.4 and §8.2.
    """
    count, num_samples = float(total.sum()), len(total)
    share, largest = float(right.sum()) / count, count / len(total)
    effect, spread = largest, share * (1 - share) * count
    if spread > 0 and num_samples > 1:
        squares = float(np.square(right - share * total).sum())
        effect = min(max(squares * num_samples / (num_samples - 1) / spread, 1.0), largest)
    return binomial_se(share, count / effect)
