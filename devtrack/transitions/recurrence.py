"""Which transitions recur over runs and seeds, in what share of them, and how far apart.

``between_run_sd`` says how much training varies between runs. The interval of one midpoint says how
well that midpoint was measured. Both are reported.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from devtrack.changepoints._step_scale import Axis, choose_axis
from devtrack.errors import ConfigError
from devtrack.series import Move, Transition
from devtrack.store.readers import read_steps, read_transitions
from devtrack.transitions.detection import find_transitions, is_current

if TYPE_CHECKING:
    from devtrack.store import Store

REACH = 0.15
"""Share of the axis within which changes of several runs are taken for the same one."""


class Occurrence(NamedTuple):
    """One series' part in one transition of one run.

    Args:
        run_id: The run.
        transition: The transition, all of it.
        move: The part of the series.
    """

    run_id: str
    transition: Transition
    move: Move

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What two occurrences must share to be the same change: kind, series, direction."""
        return self.transition.kind, self.move.metric, self.move.site, self.move.direction


class Recurring(NamedTuple):
    """One change as it comes back over runs.

    Attributes:
        members: Its occurrences, at most one per run, by midpoint.
        num_runs: Runs that were looked at.
        share: Part of them in which it occurs.
        share_low, share_high: Exact (Clopper-Pearson) interval of that share.
        midpoint: Median over its runs, in steps.
        between_run_sd: Standard deviation of the midpoints over runs. Its unit is decades of (step
            + 1) on a logarithmic axis, steps on a linear one. NaN for a single run.
        measurement_se: Root mean square standard error of one midpoint, in the same unit: the part
            of the spread that is measurement error. NaN where no interval is known.
    """

    members: tuple[Occurrence, ...]
    num_runs: int
    share: float
    share_low: float
    share_high: float
    midpoint: float
    between_run_sd: float
    measurement_se: float

    @property
    def key(self) -> tuple[str, str, str, str]:
        """Kind, metric, site and direction."""
        return self.members[0].key


def align(
    position: npt.NDArray[np.floating], run: npt.NDArray[np.integer], *, reach: float = REACH
) -> npt.NDArray[np.int64]:
    """Put changes of several runs into groups that hold at most one change of each run.

    The two groups whose means are nearest are joined again and again, unless they share a run. Two
    changes of one run are two changes, however close.

    Args:
        position: Where each change lies on the axis, from 0 to 1.
        run: Number of the run that each belongs to.
        reach: Groups whose means are farther apart are not joined.

    Shapes:
        position, run: (change,).

    Returns:
        The number of each change's group, (change,), by ascending mean.

    Example:
        >>> align(np.array([0.3, 0.32, 0.6, 0.61]), np.array([0, 1, 0, 1])).tolist()
        [0, 0, 1, 1]
    """
    groups = [([index], {int(one)}) for index, one in enumerate(run)]
    while len(groups) > 1:
        mean = np.array([position[members].mean() for members, _ in groups])
        gap = np.abs(mean[:, None] - mean[None, :])
        apart = np.array([[bool(a & b) for _, b in groups] for _, a in groups])
        gap[apart] = np.inf  # a group shares its runs with itself
        first, second = np.unravel_index(int(np.argmin(gap)), gap.shape)
        if gap[first, second] > reach:
            break
        members, runs = groups.pop(int(max(first, second)))
        kept, own = groups[int(min(first, second))]
        kept += members
        own |= runs
    label = np.empty(len(position), np.int64)
    groups.sort(key=lambda group: float(position[group[0]].mean()))
    for number, (members, _) in enumerate(groups):
        label[members] = number
    return label


def recurring(
    occurrences: Sequence[Occurrence],
    runs: Sequence[str],
    *,
    axis: Axis,
    reach: float = REACH,
    level: float = 0.95,
) -> list[Recurring]:
    """Align the changes of several runs by kind, metric, site and direction.

    Args:
        occurrences: The changes of all runs.
        runs: Ids of the runs that were looked at, also of those in which nothing was found.
        axis: On which midpoints are compared.
        reach: See ``align``.
        level: Of the interval of the share.

    Returns:
        The changes, those of most runs first, then by midpoint.

    Raises:
        ConfigError: An occurrence belongs to none of ``runs``, or ``reach`` or ``level`` cannot be.
    """
    if not 0 < level < 1 or not 0 < reach <= 1:
        raise ConfigError(
            f"level={level:g}, reach={reach:g}: level must lie between 0 and 1, reach above 0 and "
            f"at most 1. Use level=0.95, reach={REACH:g}."
        )
    number = {run_id: index for index, run_id in enumerate(runs)}
    if strangers := {one.run_id for one in occurrences} - number.keys():
        raise ConfigError(
            f"occurrences of run {min(strangers)!r}: runs must name every run that was looked at. "
            "Add it to runs."
        )
    by_key: dict[tuple[str, ...], list[Occurrence]] = {}
    for one in occurrences:
        by_key.setdefault(one.key, []).append(one)
    found = []
    for alike in by_key.values():
        place = axis.fraction([one.move.midpoint for one in alike])
        label = align(place, np.array([number[one.run_id] for one in alike]), reach=reach)
        for group in range(int(label.max()) + 1):
            members = [one for one, mine in zip(alike, label, strict=True) if mine == group]
            found.append(_describe(members, len(number), axis=axis, level=level))
    return sorted(found, key=lambda one: (-one.share, one.midpoint, one.key))


def _describe(members: list[Occurrence], num_runs: int, *, axis: Axis, level: float) -> Recurring:
    members.sort(key=lambda one: one.move.midpoint)
    place = position([one.move.midpoint for one in members], axis)
    width = position([one.move.midpoint_high for one in members], axis) - position(
        [one.move.midpoint_low for one in members], axis
    )
    error = width / (
        2 * _normal_quantile(np.array([one.transition.interval_level for one in members]))
    )
    known = error[np.isfinite(error)]
    from scipy.stats import binomtest

    share = binomtest(len(members), num_runs).proportion_ci(level, method="exact")
    return Recurring(
        tuple(members),
        num_runs,
        len(members) / num_runs,
        float(share.low),
        float(share.high),
        float(np.median([one.move.midpoint for one in members])),
        float(place.std(ddof=1)) if len(place) > 1 else math.nan,
        float(np.sqrt(np.mean(known**2))) if known.size else math.nan,
    )


def position(step: npt.ArrayLike, axis: Axis) -> npt.NDArray[np.float64]:
    """Return steps in decades of (step + 1) on a logarithmic axis, as they are on a linear one.

    Example:
        >>> position([0, 9, 99], Axis("log", 0, 99)).round(9).tolist()
        [0.0, 1.0, 2.0]
    """
    step = np.asarray(step, np.float64)
    return np.log1p(step) / np.log(10.0) if axis.kind == "log" else step


def _normal_quantile(level: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    from scipy.stats import norm

    return np.asarray(norm.ppf(0.5 + level / 2), np.float64)


def load_occurrences(store: Store, runs: Sequence[str]) -> list[Occurrence]:
    """Read the transitions of runs; analyse a run first where that is missing or stale.

    An analysis counts if it is of the whole run as it is now, by the standard settings. A change
    that coincides with an event of the training configuration is left out: it recurs because the
    configuration does.

    Args:
        store: The store.
        runs: Ids of the runs.

    Raises:
        UnknownRunError: The store has no such run.
        StoreError: The store cannot be written.
    """
    for run_id in runs:
        if not is_current(store, run_id, standard=True):
            find_transitions(store, run_id)
    return [
        Occurrence(run_id, transition, move)
        for run_id in runs
        for transition in read_transitions(store, run_id)
        for move in transition.moves
        if transition.event is None
    ]


def common_axis(store: Store, runs: Sequence[str], *, kind: str = "auto") -> Axis:
    """Lay one axis through the observed steps of several runs.

    Args:
        store: The store.
        runs: Ids of the runs.
        kind: ``"log"``, ``"linear"``, or ``"auto"`` for that of the schedule (``choose_axis``).

    Raises:
        ConfigError: The runs have fewer than two observed steps, or a bad ``kind``.
    """
    steps = read_steps(store, runs)
    if len(steps) < 2:
        raise ConfigError(
            f"{len(runs)} runs with {len(steps)} observed steps: an axis needs at least 2. "
            "Pick runs that `devtrack runs` lists with observations."
        )
    return choose_axis(steps, kind=kind)
