"""Transitions and occurrences made by hand, for tests that need no detector."""

import math

from devtrack.series import Move, Transition
from devtrack.transitions.recurrence import Occurrence


def move(metric="llc", site="model", **changes):
    known = Move(metric, site, "down", -60.2, 3.1, 150.0, 300.0, 600.0, 270.0, 330.0)
    return known._replace(**changes)


def transition(*moves, **changes):
    known = Transition(
        *("step", 150.0, 300.0, 600.0, 260.0, 340.0, 0.9),
        *(1e-9, "p-value", 0.05, None, moves or (move(),)),
    )
    return known._replace(**changes)


def occurrence(
    *given: str | float, effect=5.0, midpoint=100.0, low=math.nan, high=math.nan, level=0.9
):
    """Return the occurrence of (run, kind, metric, site, direction)."""
    run, kind, metric, site, direction = given
    one = move(
        metric,
        site,
        direction=direction,
        effect=effect,
        midpoint=midpoint,
        midpoint_low=low,
        midpoint_high=high,
    )
    return Occurrence(
        str(run), transition(one, kind=kind, midpoint=midpoint, interval_level=level), one
    )
