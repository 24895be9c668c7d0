"""What the detector reads and what it answers: a series in, moves and transitions out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from devtrack.errors import DataError


@dataclass(frozen=True, eq=False)
class Series:
    """One metric at one site over the snapshots of a run.

    Points whose value is not finite are kept here; the detector leaves them out. The order of the
    points does not matter. A step may occur twice, since a resumed run measures it again.

    Args:
        metric: Name of the quantity, e.g. ``"llc"``.
        site: Module path where it was taken, e.g. ``"model"``.
        step: Optimizer steps completed.
        value: The numbers; NaN where none is known.
        se: Their standard errors in the units of ``value``; NaN where unknown. None: all unknown.
        status: Trust in each, ``"ok"``, ``"suspect"`` or ``"failed"``. None: all are ok.

    Shapes:
        step, value, se, status: (snapshot,).

    Raises:
        DataError: When shapes differ, a step is negative, or a standard error is.
    """

    metric: str
    site: str
    step: npt.NDArray[np.int64]
    value: npt.NDArray[np.float64]
    se: npt.NDArray[np.float64] = field(default=None)  # pyright: ignore[reportAssignmentType]
    status: npt.NDArray[np.str_] = field(default=None)  # pyright: ignore[reportAssignmentType]

    def __post_init__(self) -> None:
        name = f"{self.metric}@{self.site}"
        step = np.asarray(self.step)
        if (
            step.size
            and not np.issubdtype(step.dtype, np.integer)
            and np.any(step != np.rint(step))
        ):
            raise DataError(
                f"{name}: steps of type {step.dtype} with fractions. "
                "A step counts optimizer steps: pass whole numbers."
            )
        value = np.asarray(self.value, dtype=np.float64)
        se = np.full(value.shape, np.nan) if self.se is None else np.asarray(self.se, np.float64)
        status = np.full(value.shape, "ok") if self.status is None else np.asarray(self.status, str)
        if step.ndim != 1 or not step.shape == value.shape == se.shape == status.shape:
            raise DataError(
                f"{name}: shapes step {step.shape}, value {value.shape}, se {se.shape}, status "
                f"{status.shape}. All must be one-dimensional and of one length: one entry per "
                "snapshot."
            )
        if np.any(step < 0):
            raise DataError(f"{name}: step {step.min()}. Steps start at 0: drop or mend that row.")
        if np.any(se < 0):
            raise DataError(
                f"{name}: standard error {np.nanmin(se):g}. "
                "It must be 0 or more, or NaN when it is unknown."
            )
        object.__setattr__(self, "step", step.astype(np.int64))
        object.__setattr__(self, "value", value)
        object.__setattr__(self, "se", np.where(np.isinf(se), np.nan, se))
        object.__setattr__(self, "status", status)


class ConfigEvent(NamedTuple):
    """Something that the tracker knows was done to the run.

    Args:
        step: Optimizer steps completed when it happened.
        kind: ``"lr_change"``, ``"warmup_end"``, ``"evalset_change"``, ``"resume"``,
            ``"optimizer_start"``, …
        momentum: Of an optimizer that started, 0 for one that has none.
    """

    step: float
    kind: str
    momentum: float = 0.0


class Move(NamedTuple):
    """The part of one series in a transition.

    Args:
        metric: Name of the quantity.
        site: Where it was taken.
        direction: ``"up"`` or ``"down"``: the sign of ``effect``.
        effect: Size in the units of the metric. For a step, the level after minus the level
            before, over and above the smooth trend. For a turn, the change of slope, in units of
            the metric per length of the run's axis.
        effect_se: Standard error of ``effect``.
        onset: Step at which 5 % of the change had happened.
        midpoint: Step at which 50 % of it had happened; for a turn, where the slope is zero.
        end: Step at which 95 % of it had happened.
        midpoint_low: Lower end of the midpoint's interval (level: the transition's).
        midpoint_high: Upper end of the midpoint's interval.
    """

    metric: str
    site: str
    direction: str
    effect: float
    effect_se: float
    onset: float
    midpoint: float
    end: float
    midpoint_low: float
    midpoint_high: float


class Transition(NamedTuple):
    """One change of the run, in one series or in several that move together.

    Args:
        kind: ``"step"`` (a level changes along a sigmoid) or ``"turn"`` (a slope changes sign).
        onset: Step at which the first series had made 5 % of its change.
        midpoint: Median over series of their midpoints.
        end: Step at which the last series had made 95 % of its change.
        midpoint_low: Lower end of the midpoint's interval.
        midpoint_high: Upper end of the midpoint's interval.
        interval_level: Probability that the interval holds the true midpoint.
        evidence: What speaks for the change, in the measure that ``evidence_method`` names.
        evidence_method: Name of that measure.
        alpha: Nominal rate of runs without a change in which one or more is reported.
        event: Kind of the configuration event that the change coincides with; None if there is
            none. A change with an event is attributed to an event of the configuration, not a
            transition of its own.
        moves: One per series that took part, in the order of their midpoints.
    """

    kind: str
    onset: float
    midpoint: float
    end: float
    midpoint_low: float
    midpoint_high: float
    interval_level: float
    evidence: float
    evidence_method: str
    alpha: float
    event: str | None
    moves: tuple[Move, ...]
