"""How far sampled chains can be trusted: arrays in, numbers and doubts out."""

from devtrack.sampling.diagnostics._diagnose import (
    ChainObservables,
    Diagnosis,
    diagnose,
    require_chains,
    require_draws,
)
from devtrack.sampling.diagnostics.warning_codes import (
    TOO_FEW_DRAWS,
    TOO_LARGE_STEP,
    TOO_SMALL_STEP,
    QualityWarning,
    WarningCode,
)

__all__ = [
    "TOO_FEW_DRAWS",
    "TOO_LARGE_STEP",
    "TOO_SMALL_STEP",
    "ChainObservables",
    "Diagnosis",
    "QualityWarning",
    "WarningCode",
    "diagnose",
    "require_chains",
    "require_draws",
]
