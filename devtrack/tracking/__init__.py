"""From a training to rows in the store: sessions, and the door for Lightning.

``Tracker`` is loaded on first use: a session needs no Lightning.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from devtrack.tracking._fault_isolation import TrackerWarning
from devtrack.tracking.session import Session
from devtrack.tracking.training_loop import TrainingLoop

if TYPE_CHECKING:
    from devtrack.tracking.lightning_tracker import Tracker

__all__ = ["Session", "Tracker", "TrackerWarning", "TrainingLoop"]


def __getattr__(name: str) -> Any:
    if name != "Tracker":
        raise AttributeError(f"module 'devtrack.tracking' has no attribute {name!r}")
    return import_module("devtrack.tracking.lightning_tracker").Tracker
