"""How far sampled chains can be trusted: arrays in, numbers and doubts out."""

from devtrack.diagnostics.causes import TOO_FEW_DRAWS, TOO_LARGE_STEP, TOO_SMALL_STEP, Cause, Doubt
from devtrack.diagnostics.diagnose import Diagnosis, Path, diagnose, require_chains, require_draws

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
