"""Choose the sampler's hyperparameters for a run: trial chains over a grid of nβ and γ."""

from devtrack.sampling.calibration._calibrate import Calibration, calibrate
from devtrack.sampling.calibration._step_size import StepSize, find_step_size
from devtrack.sampling.calibration._trials import Trial
from devtrack.sampling.calibration.config import CalibrationConfig, StepSizeSearchConfig

__all__ = [
    "Calibration",
    "CalibrationConfig",
    "StepSize",
    "StepSizeSearchConfig",
    "Trial",
    "calibrate",
    "find_step_size",
]
