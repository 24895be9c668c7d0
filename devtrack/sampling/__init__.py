"""Sample chains around a point of the weights, and estimate the learning coefficient there."""

from devtrack.sampling.calibration import Calibration, calibrate
from devtrack.sampling.chain_record import Chains
from devtrack.sampling.config import SamplerConfig
from devtrack.sampling.diagnostics import Diagnosis
from devtrack.sampling.estimator import estimate
from devtrack.sampling.kernels import Kernel
from devtrack.sampling.sampler import sample

__all__ = [
    "Calibration",
    "Chains",
    "Diagnosis",
    "Kernel",
    "SamplerConfig",
    "calibrate",
    "estimate",
    "sample",
]
