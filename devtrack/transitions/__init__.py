"""From the store's rows to transitions, over one run or over many."""

from devtrack.transitions.coverage import Coverage, read_coverage
from devtrack.transitions.detection import find_transitions, is_current
from devtrack.transitions.lead_time import Lead, Precursor, lead_time, precursors
from devtrack.transitions.recurrence import Recurring, recurring

__all__ = [
    "Coverage",
    "Lead",
    "Precursor",
    "Recurring",
    "find_transitions",
    "is_current",
    "lead_time",
    "precursors",
    "read_coverage",
    "recurring",
]
