"""Find changes in series of numbers: numpy in, numpy out."""

from devtrack.changepoints.config import DetectorConfig, OnlineDetectorConfig
from devtrack.changepoints.offline.detector import detect
from devtrack.changepoints.online.detector import Alarm, OnlineDetector

__all__ = ["Alarm", "DetectorConfig", "OnlineDetector", "OnlineDetectorConfig", "detect"]
