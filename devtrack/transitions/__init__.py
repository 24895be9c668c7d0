"""From the store's rows to transitions, over one run or over many."""

from devtrack.transitions.coverage import Judged, read_judged
from devtrack.transitions.detection import find_transitions, is_current, load_events, load_series
from devtrack.transitions.lead_time import Lead, Precursor, lead_time, precursors
from devtrack.transitions.recurrence import Recurring, recurring

__all__ = [
    "Judged",
    "Lead",
    "Precursor",
    "Recurring",
    "find_transitions",
    "is_current",
    "lead_time",
    "load_events",
    "load_series",
    "precursors",
    "read_judged",
    "recurring",
]
