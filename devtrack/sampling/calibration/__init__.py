"""Choose sampler settings for a run: trial chains over a grid of n_beta and localization."""

from devtrack.sampling.calibration._calibrate import Calibration, calibrate

__all__ = ["Calibration", "calibrate"]
