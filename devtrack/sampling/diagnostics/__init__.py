"""How far sampled chains can be trusted: arrays in, numbers and doubts out."""

from devtrack.sampling.diagnostics._diagnose import (
    Diagnosis,
    Path,
    diagnose,
    require_chains,
    require_draws,
)
from devtrack.sampling.diagnostics.warning_codes import (
    TOO_FEW_DRAWS,
    TOO_LARGE_STEP,
    TOO_SMALL_STEP,
    Cause,
    Doubt,
)

__all__ = [
    "TOO_FEW_DRAWS",
    "TOO_LARGE_STEP",
    "TOO_SMALL_STEP",
    "Cause",
    "Diagnosis",
    "Doubt",
    "Path",
    "diagnose",
    "require_chains",
    "require_draws",
]
