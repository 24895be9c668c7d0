"""Find changes in series of numbers: numpy in, numpy out."""

from devtrack.changepoints.config import (
    ClusterConfig,
    DetectorConfig,
    EventConfig,
    LocationConfig,
    NoiseConfig,
    OnlineDetectorConfig,
    SelectionConfig,
    ShapeCheckConfig,
    SignificanceConfig,
    TemplateConfig,
    TrendConfig,
)
from devtrack.changepoints.offline.detector import detect
from devtrack.changepoints.online.detector import Alarm, OnlineDetector

__all__ = [
    "Alarm",
    "ClusterConfig",
    "DetectorConfig",
    "EventConfig",
    "LocationConfig",
    "NoiseConfig",
    "OnlineDetector",
    "OnlineDetectorConfig",
    "SelectionConfig",
    "ShapeCheckConfig",
    "SignificanceConfig",
    "TemplateConfig",
    "TrendConfig",
    "detect",
]
