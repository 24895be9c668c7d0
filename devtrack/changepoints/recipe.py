"""Marks that the training recipe leaves on a curve, as columns of a linear model.

The tracker knows when the learning rate changed, the warm-up ended, the evaluation data were
replaced or the run was resumed. What happens there needs no phase transition to explain it, so each
known event brings the shapes that it may leave: what they explain is the recipe's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from devtrack.changepoints.axis import Axis
from devtrack.changepoints.inertia import Start
from devtrack.changepoints.series import RecipeEvent, Series
from devtrack.changepoints.templates import bend

Array = npt.NDArray[np.floating]

RECIPE_SD = 30.0  # prior standard deviation of a mark, in noise units
RELAX_FRACTIONS = (0.01, 0.04, 0.15)  # relaxation times after an event, of the steps up to it
BUMP_WIDTHS = (0.02, 0.03, 0.045)
START = "optimizer_start"  # leaves no mark of its own: a ball's roll is part of the trend
JUMP_ONLY = ("resume",)  # events that can shift a level at once but do not steer the training


def is_recipe(series: Series) -> bool:
    """Say whether a series records the recipe itself (the learning rate)."""
    return series.metric == "lr" or series.metric.startswith("lr/")


def starts_of(events: Sequence[RecipeEvent], *, linear: bool = False) -> list[Start]:
    """Return where an optimizer with momentum started (``Start``)."""
    return [Start(e.step, e.momentum, linear) for e in events if e.kind == START and e.momentum > 0]


def recipe_columns(
    step: Array, axis: Axis, *, events: Sequence[RecipeEvent], schedules: Sequence[Series]
) -> Array:
    """Return the columns of all events and of the learning-rate schedules, (point, column).

    Args:
        step: Steps of the series' points, ascending.
        axis: The run's axis.
        events: What the tracker recorded.
        schedules: Recorded learning rates.
    """
    marks = [e for e in events if e.kind != START]
    parts = [_event_columns(step, axis, e) for e in marks] + [
        _schedule_columns(step, s) for s in schedules
    ]
    parts = [p for p in parts if p.size]
    if not parts:
        return np.empty((step.size, 0))
    columns = np.hstack(parts)
    return columns[:, np.ptp(columns, axis=0) > 1e-9]


def _event_columns(step: Array, axis: Axis, event: RecipeEvent) -> Array:
    after, since = step >= event.step, step > event.step
    jumps = [after.astype(float), since.astype(float)]
    if event.kind in JUMP_ONLY:
        return np.column_stack(jumps)
    elapsed = np.maximum(step - event.step, 0.0)
    relax = [
        np.where(after, 1 - np.exp(-elapsed / max(f * event.step, 1.0)), 0.0)
        for f in RELAX_FRACTIONS
    ]
    u, place = axis.fraction(step), float(axis.fraction(event.step))
    bumps = [np.exp(-0.5 * ((u - place) / w) ** 2) for w in BUMP_WIDTHS]
    return np.column_stack([*jumps, *relax, *bumps, bend(u, place, 0.01)[:, 0] * 4])


def _schedule_columns(step: Array, schedule: Series) -> Array:
    """Powers of the share of the learning rate that is gone: losses fall as it anneals."""
    order = np.argsort(schedule.step, kind="stable")
    known = order[np.isfinite(schedule.value[order])]
    if known.size == 0 or np.ptp(schedule.value[known]) == 0:
        return np.empty((step.size, 0))
    lr = np.interp(step, schedule.step[known].astype(float), schedule.value[known])
    gone = 1 - lr / np.max(schedule.value[known])
    return np.column_stack([gone, gone**2, gone**3])
