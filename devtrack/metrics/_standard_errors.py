"""Standard errors of any smooth statistic, by leaving out one group of samples after another."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch


def groups_of(sample: torch.Tensor, num_groups: int) -> torch.Tensor:
    """Return the group of each row, (row,): samples in order, in groups as equal as can be.

    Args:
        sample: (row,), the sample a row belongs to; a sample is never split.
        num_groups: Fewer if there are fewer samples.
    """
    names, index = torch.unique(sample, return_inverse=True)  # sorted
    return index * min(num_groups, len(names)) // len(names)


def jackknife_se(statistic: Callable[[torch.Tensor], float], groups: torch.Tensor) -> float:
    """Return the delete-one-group standard error of ``statistic``, NaN for fewer than two groups.

    Args:
        statistic: Maps the indices of the rows that are kept, (kept,), to a number.
        groups: (row,), from ``groups_of``.

    Source:
        Efron & Tibshirani 1993, ch. 11, with groups in the place of single observations:
        se² = (G − 1)/G Σ_g (θ_(g) − mean θ)².
    """
    present = torch.unique(groups).tolist()
    count = len(present)
    if count < 2:
        return math.nan
    left_out = [statistic(torch.nonzero(groups != group).squeeze(1)) for group in present]
    mean = sum(left_out) / count
    return math.sqrt((count - 1) / count * sum((value - mean) ** 2 for value in left_out))
