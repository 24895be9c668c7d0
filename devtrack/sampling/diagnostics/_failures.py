"""Chains that hold no estimate at all."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from devtrack.sampling.diagnostics._statistics import Floats
from devtrack.sampling.diagnostics._thresholds import DIVERGED_FACTOR
from devtrack.sampling.diagnostics.warning_codes import QualityWarning, WarningCode


def failed_chains(
    chain_values: Floats, num_parameters: int
) -> tuple[list[QualityWarning], npt.NDArray[np.bool_]]:
    """Return what is wrong with chains that do not count, and which do, (chain,).

    Shapes:
        chain_values: (chain,); λ̂ of every chain, NaN for a non-finite one.
    """
    num_chains = len(chain_values)
    finite = np.isfinite(chain_values)
    with np.errstate(invalid="ignore"):
        diverged = finite & (chain_values > DIVERGED_FACTOR * num_parameters / 2)
    failures = []
    if not finite.all():
        without_number = (
            f"{(~finite).sum()} of {num_chains} chains non-finite: lr, n_beta or localization too "
            "large, or NaN in the data; lower lr first"
        )
        failures.append(QualityWarning(WarningCode.NON_FINITE, without_number))
    if diverged.any():
        gone = (
            f"{diverged.sum()} of {num_chains} chains diverged (mean beyond {DIVERGED_FACTOR:g} × "
            "parameters / 2): lr too large, or localization too small; lower lr first"
        )
        failures.append(QualityWarning(WarningCode.DIVERGED, gone))
    return failures, finite & ~diverged
