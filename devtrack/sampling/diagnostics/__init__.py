"""How far sampled chains can be trusted: arrays in, numbers and warnings out."""

from devtrack.sampling.diagnostics._checks import CheckInputs, run_checks
from devtrack.sampling.diagnostics._diagnose import (
    Diagnosis,
    diagnose,
    require_chains,
    require_draws,
)
from devtrack.sampling.diagnostics._observables import ChainObservables
from devtrack.sampling.diagnostics.config import DiagnosticsConfig
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
    "CheckInputs",
    "Diagnosis",
    "DiagnosticsConfig",
    "QualityWarning",
    "WarningCode",
    "diagnose",
    "require_chains",
    "require_draws",
    "run_checks",
]
