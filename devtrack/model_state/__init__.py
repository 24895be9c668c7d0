"""The weights, without a trace: private copies, isolation, snapshots and the fidelity check."""

from devtrack.model_state import snapshots
from devtrack.model_state._private_copy import private_copy
from devtrack.model_state.fidelity import Check, Mismatch, check_copy, compare
from devtrack.model_state.isolation import isolated
from devtrack.model_state.stub_trainer import StubTrainer

__all__ = [
    "Check",
    "Mismatch",
    "StubTrainer",
    "check_copy",
    "compare",
    "isolated",
    "private_copy",
    "snapshots",
]
