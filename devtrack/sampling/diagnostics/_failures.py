"""Chains that give no estimate at all."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from devtrack.sampling.diagnostics._statistics import Floats
from devtrack.sampling.diagnostics.config import DEFAULT, DiagnosticsConfig
from devtrack.sampling.diagnostics.warning_codes import QualityWarning, WarningCode


class ChainFailures(NamedTuple):
    """Which chains failed.

    Shapes:
        is_valid: (chain,).

    Attributes:
        is_valid: Whether a chain counts.
        warnings: What is wrong with those that do not.
    """

    is_valid: npt.NDArray[np.bool_]
    warnings: tuple[QualityWarning, ...]


def failed_chains(
    draws: Floats,
    full_draws: Floats,
    num_parameters: int,
    *,
    thresholds: DiagnosticsConfig = DEFAULT,
) -> ChainFailures:
    """Return which chains failed: those that are not finite, and those that diverged.

    Args:
        draws: nβ (L(w_t) − L(w*)) on each draw's own batch.
        full_draws: The same on a fixed set of batches.
        num_parameters: Weights that were sampled.
        thresholds: Of a chain that diverged.

    Shapes:
        draws: (chain, draw). full_draws: (chain, evaluation).
    """
    num_chains = len(draws)
    finite = np.isfinite(draws).all(axis=1) & np.isfinite(full_draws).all(axis=1)  # (chain,)
    with np.errstate(invalid="ignore", over="ignore"):
        means = draws.mean(axis=1)
        diverged = finite & (means > thresholds.diverged_factor * num_parameters / 2)
    warnings = []
    if not finite.all():
        message = (
            f"{(~finite).sum()} of {num_chains} chains non-finite: lr, n_beta or localization too "
            "large, or NaN in the data; lower lr first"
        )
        warnings.append(QualityWarning(WarningCode.NON_FINITE, message))
    if diverged.any():
        message = (
            f"{diverged.sum()} of {num_chains} chains diverged (mean beyond "
            f"{thresholds.diverged_factor:g} × parameters / 2): lr too large, or localization too "
            "small; lower lr first"
        )
        warnings.append(QualityWarning(WarningCode.DIVERGED, message))
    return ChainFailures(finite & ~diverged, tuple(warnings))
