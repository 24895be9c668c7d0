"""Effects that events of the training configuration leave on a curve, as columns of a linear model.

The tracker knows when the learning rate changed, the warm-up ended, the evaluation data were
replaced or the run was resumed. What happens there needs no phase transition to explain it. So each
known event brings regressors for the shapes that it may leave, and what they explain is attributed
to the event.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from devtrack.changepoints._momentum_transient import OptimizerStart
from devtrack.changepoints._step_scale import Axis
from devtrack.changepoints._templates import kink
from devtrack.changepoints.config import EventConfig
from devtrack.series import ConfigEvent, Series

Array = npt.NDArray[np.floating]

OPTIMIZER_START = "optimizer_start"  # leaves no mark of its own: a ball's roll is part of the trend
JUMP_KINDS = ("resume",)  # events that do not steer the training, and shift a level if anything


def is_config_series(series: Series) -> bool:
    """Say whether a series records the training configuration (the learning rate)."""
    return series.metric == "lr" or series.metric.startswith("lr/")


def jump_columns(step: Array, events: Sequence[ConfigEvent]) -> list[Array]:
    """Return what each event that does not steer the training may have left, each (point, column).

    Args:
        step: Steps of the series' points, ascending.
        events: What the tracker recorded.
    """
    jumps = [_jumps(step, e) for e in events if e.kind in JUMP_KINDS]
    return [columns for jump in jumps if (columns := _that_vary(jump)).size]


def optimizer_starts(
    events: Sequence[ConfigEvent], *, linear: bool = False
) -> list[OptimizerStart]:
    """Return where an optimizer with momentum started (``OptimizerStart``)."""
    return [
        OptimizerStart(e.step, e.momentum, linear)
        for e in events
        if e.kind == OPTIMIZER_START and e.momentum > 0
    ]


def event_columns(
    step: Array,
    axis: Axis,
    config: EventConfig,
    *,
    events: Sequence[ConfigEvent],
    schedules: Sequence[Series],
) -> Array:
    """Return the columns of events and of the learning-rate schedules, (point, column).

    Those of events that do not steer the training are ``jump_columns``.

    Args:
        step: Steps of the series' points, ascending.
        axis: The run's axis.
        config: What an event may leave on a curve.
        events: What the tracker recorded.
        schedules: Recorded learning rates.
    """
    marks = [e for e in events if e.kind != OPTIMIZER_START and e.kind not in JUMP_KINDS]
    parts = [_event_columns(step, axis, config, e) for e in marks] + [
        _schedule_columns(step, s) for s in schedules
    ]
    parts = [p for p in parts if p.size]
    if not parts:
        return np.empty((step.size, 0))
    return _that_vary(np.hstack(parts))


def _that_vary(columns: Array) -> Array:
    return columns[:, np.ptp(columns, axis=0) > 1e-9]


def _jumps(step: Array, event: ConfigEvent) -> Array:
    """Return level shifts before and after the snapshot at the event, if there is one."""
    return np.column_stack([step >= event.step, step > event.step]).astype(float)


def _event_columns(step: Array, axis: Axis, config: EventConfig, event: ConfigEvent) -> Array:
    after, elapsed = step >= event.step, np.maximum(step - event.step, 0.0)
    relax = [
        np.where(after, 1 - np.exp(-elapsed / max(f * event.step, 1.0)), 0.0)
        for f in config.relaxation_times
    ]
    u, place = axis.fraction(step), float(axis.fraction(event.step))
    bumps = [np.exp(-0.5 * ((u - place) / w) ** 2) for w in config.bump_widths]
    return np.column_stack([_jumps(step, event), *relax, *bumps, kink(u, place, 0.01)[:, 0] * 4])


def _schedule_columns(step: Array, schedule: Series) -> Array:
    """Powers of the share of the learning rate that is gone: losses fall as it anneals."""
    order = np.argsort(schedule.step, kind="stable")
    known = order[np.isfinite(schedule.value[order])]
    if known.size == 0 or np.ptp(schedule.value[known]) == 0:
        return np.empty((step.size, 0))
    lr = np.interp(step, schedule.step[known].astype(float), schedule.value[known])
    gone = 1 - lr / np.max(schedule.value[known])
    return np.column_stack([gone, gone**2, gone**3])
