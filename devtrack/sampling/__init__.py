"""Sample chains around a point of the weights, and estimate the learning coefficient there."""

from devtrack.sampling.calibration import Calibration, CalibrationConfig, Trial, calibrate
from devtrack.sampling.chain_record import Chains
from devtrack.sampling.config import EvaluateOn, Method, Precision, SamplerConfig
from devtrack.sampling.diagnostics import Diagnosis, DiagnosticsConfig, QualityWarning, WarningCode
from devtrack.sampling.estimator import LLCEstimate, estimate
from devtrack.sampling.kernels import Kernel
from devtrack.sampling.sampler import sample

__all__ = [
    "Calibration",
    "CalibrationConfig",
    "Chains",
    "Diagnosis",
    "DiagnosticsConfig",
    "EvaluateOn",
    "Kernel",
    "LLCEstimate",
    "Method",
    "Precision",
    "QualityWarning",
    "SamplerConfig",
    "Trial",
    "WarningCode",
    "calibrate",
    "estimate",
    "sample",
]
