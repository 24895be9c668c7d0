"""Early warning: which changes come before a change of a named metric, by how much, how surely.

Runs are the units: every lead is taken within one run, and the interval is over runs. Two
questions are kept apart. Does the other change come first? And does it tell when the target will
follow, or is it merely always early? The first is answered by the lead, the second by whether the
two midpoints move together over runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from devtrack.changepoints._step_scale import Axis
from devtrack.errors import ConfigError
from devtrack.transitions.recurrence import REACH, Occurrence, Recurring, position, recurring

_NUM_RESAMPLES = 10_000
_LEAST_FOR_CORRELATION = 4


class Lead(NamedTuple):
    """How far one change is ahead of another, over the runs that have both.

    Attributes:
        num_runs: Runs that have both.
        num_first: Runs in which the other change comes before the target's.
        mean: Mean lead, positive where the other change comes first, in the positions' unit.
        low, high: Its t interval over runs; NaN for fewer than 2.
        p: Two-sided p-value of no lead, by flipping the signs of the leads.
        p_least: The smallest p that so many runs allow: 2 / 2^num_runs.
        correlation: Of the two positions over runs; NaN for fewer than 4.
        correlation_p: Two-sided p-value of no relation, by pairing runs at random.
    """

    num_runs: int
    num_first: int
    mean: float
    low: float
    high: float
    p: float
    p_least: float
    correlation: float
    correlation_p: float


class Precursor(NamedTuple):
    """A recurring change and how far it is ahead of the target's change.

    Attributes:
        change: The recurring change.
        lead: In decades of (step + 1) on a logarithmic axis, in steps on a linear one.
        lead_steps: Median lead in steps.
        p_adjusted: ``lead.p`` after Holm's correction for the number of changes compared.
        missed: Runs that have the target's change without this one.
        false_positives: Runs that have this one without the target's change.
    """

    change: Recurring
    lead: Lead
    lead_steps: float
    p_adjusted: float
    missed: int
    false_positives: int


def lead_time(
    target: npt.NDArray[np.floating], other: npt.NDArray[np.floating], *, level: float = 0.95
) -> Lead:
    """Compare two changes over runs, paired by run.

    With fewer than 6 runs no p-value can fall below 0.05, however clear the lead is. With five, the
    smallest is 2 / 32 = 0.0625.

    Args:
        target, other: Positions of their midpoints on the axis; NaN where a run lacks the change.
        level: Of the interval.

    Shapes:
        target, other: (run,).

    Raises:
        ConfigError: No run has both, or ``level`` cannot be.

    Example:
        >>> lead_time(np.array([3.0, 3.1, 3.2]), np.array([2.0, 2.2, 2.1])).num_first
        3
    """
    if not 0 < level < 1:
        raise ConfigError(f"level={level:g}: must lie between 0 and 1. Use level=0.95.")
    both = np.isfinite(target) & np.isfinite(other)
    count = int(both.sum())
    if not count:
        raise ConfigError(
            f"{len(target)} runs, none with both changes: a lead is taken within a run. "
            "Compare changes that occur together."
        )
    lead = target[both] - other[both]  # (run,)
    mean = float(lead.mean())
    half = math.nan
    if count > 1:
        from scipy.stats import t

        half = float(t.ppf(0.5 + level / 2, count - 1) * lead.std(ddof=1) / math.sqrt(count))
    correlation, correlation_p = _relation(target[both], other[both])
    return Lead(
        count,
        int((lead > 0).sum()),
        mean,
        mean - half,
        mean + half,
        _sign_flip_p(lead),
        2.0 / 2.0**count,
        correlation,
        correlation_p,
    )


def _sign_flip_p(lead: npt.NDArray[np.floating]) -> float:
    """Return the share of random signs of the leads with a mean at least as large.

    Exact where all signs fit into the number of resamples.
    """
    if len(lead) == 1:
        return 1.0  # either sign has a mean as large
    from scipy.stats import permutation_test

    found = permutation_test(
        (lead,),
        lambda x, axis: np.abs(np.mean(x, axis=axis)),
        permutation_type="samples",
        alternative="greater",
        vectorized=True,
        n_resamples=_NUM_RESAMPLES,
        rng=np.random.default_rng(0),
    )
    return float(found.pvalue)


def _relation(
    target: npt.NDArray[np.floating], other: npt.NDArray[np.floating]
) -> tuple[float, float]:
    """Return the correlation over runs, and its p-value over random pairings of the runs.

    Exact where all pairings fit into the number of resamples.
    """
    count = len(target)
    if count < _LEAST_FOR_CORRELATION or np.ptp(target) == 0 or np.ptp(other) == 0:
        return math.nan, math.nan
    from scipy.stats import permutation_test

    a = (target - target.mean()) / (target.std() * count)
    b = (other - other.mean()) / other.std()
    found = permutation_test(
        (b,),
        lambda x, axis: np.abs(np.sum(x * a, axis=axis)),
        permutation_type="pairings",
        alternative="greater",
        vectorized=True,
        n_resamples=_NUM_RESAMPLES,
        rng=np.random.default_rng(0),
    )
    return float(a @ b), float(found.pvalue)


def largest_changes(
    occurrences: Sequence[Occurrence],
    metric: str,
    *,
    site: str | None = None,
    direction: str | None = None,
) -> dict[str, Occurrence]:
    """Return, by run, the largest level change of a metric.

    Args:
        occurrences: The changes of all runs.
        metric: Its name.
        site: Where; any if None.
        direction: ``"up"`` or ``"down"``; either if None.
    """
    found: dict[str, Occurrence] = {}
    for one in occurrences:
        if one.transition.kind != "step" or one.move.metric != metric:
            continue
        if site not in (None, one.move.site) or direction not in (None, one.move.direction):
            continue
        if one.run_id not in found or abs(one.move.effect) > abs(found[one.run_id].move.effect):
            found[one.run_id] = one
    return found


def precursors(
    occurrences: Sequence[Occurrence],
    runs: Sequence[str],
    *,
    target: str,
    axis: Axis,
    site: str | None = None,
    direction: str | None = None,
    reach: float = REACH,
    level: float = 0.95,
) -> list[Precursor]:
    """Find the changes of other metrics that come before the largest change of the target.

    Args:
        occurrences: The changes of all runs.
        runs: Ids of the runs that were looked at.
        target: Metric whose largest level change in each run is to be foreseen.
        axis: On which midpoints are compared.
        site, direction: Of the target's change; any if None.
        reach: See ``recurrence.align``.
        level: Of the intervals.

    Returns:
        Every change of another metric that shares at least two runs with the target's, the longest
        mean lead first. A negative lead means that it comes after.

    Raises:
        ConfigError: The target changes in no run.
    """
    goal = largest_changes(occurrences, target, site=site, direction=direction)
    if not goal:
        known = sorted({one.move.metric for one in occurrences if one.transition.kind == "step"})
        raise ConfigError(
            f"target={target!r}: no run has a level change of it. The metrics that have one are "
            f"{', '.join(known) or 'none'}. Pass one of these."
        )
    aims = position(
        [goal[r].move.midpoint if r in goal else math.nan for r in runs], axis
    )  # (run,)
    found = []
    for change in recurring(occurrences, runs, axis=axis, reach=reach, level=level):
        mine = {one.run_id: one.move.midpoint for one in change.members}
        shared = mine.keys() & goal.keys()
        if change.key[1] == target or len(shared) < 2:
            continue
        others = position([mine.get(run_id, math.nan) for run_id in runs], axis)
        steps = float(np.median([goal[run_id].move.midpoint - mine[run_id] for run_id in shared]))
        lead = lead_time(aims, others, level=level)
        found.append(
            Precursor(change, lead, steps, lead.p, len(goal) - len(shared), len(mine) - len(shared))
        )
    adjusted = holm([one.lead.p for one in found])
    found = [one._replace(p_adjusted=p) for one, p in zip(found, adjusted, strict=True)]
    return sorted(found, key=lambda one: -one.lead.mean)


def holm(p: Sequence[float]) -> list[float]:
    """Return p-values that keep their meaning when the smallest of them is picked (Holm 1979).

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    adjusted = [0.0] * len(p)
    worst = 0.0
    for rank, index in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        worst = max(worst, min(1.0, (len(p) - rank) * p[index]))
        adjusted[index] = worst
    return adjusted
