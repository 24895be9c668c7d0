"""Watch a run while it trains: alarms at changes, invariants, and the actions on them."""

from devtrack.monitoring.actions import (
    Action,
    Call,
    Controls,
    Densify,
    Log,
    SaveCheckpoint,
    StopTraining,
    Trigger,
)
from devtrack.monitoring.invariants import Invariant
from devtrack.monitoring.monitor import Monitor, MonitorSession

__all__ = [
    "Action",
    "Call",
    "Controls",
    "Densify",
    "Invariant",
    "Log",
    "Monitor",
    "MonitorSession",
    "SaveCheckpoint",
    "StopTraining",
    "Trigger",
]
