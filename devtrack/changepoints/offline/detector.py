"""The seam of the detector: series in, transitions out."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from devtrack.changepoints._event_regressors import (
    is_recipe,
    jump_columns,
    recipe_columns,
    starts_of,
)
from devtrack.changepoints._momentum_transient import Start
from devtrack.changepoints._preprocessing import MIN_POINTS, make_curve
from devtrack.changepoints._step_scale import Axis, choose_axis
from devtrack.changepoints._templates import Shape, make_bank, widest
from devtrack.changepoints.offline._clustering import (
    Cluster,
    add_company,
    find_weak,
    join,
    merge,
    shapes_of,
    strength,
    told_parts,
)
from devtrack.changepoints.offline._location import date, settle
from devtrack.changepoints.offline._segmentation import learn_noise, relearn_noise
from devtrack.changepoints.offline._series_model import SeriesModel
from devtrack.changepoints.offline._significance import Chance, chance
from devtrack.errors import ConfigError
from devtrack.series import ConfigEvent, Series, Transition

SEED = 20261121  # of the draws: the same series give the same answer
SPIKE_POINTS = 6  # snapshots that two loss spikes take, one upon the other
UNDONE = 0.5  # of the larger of two changes: less left of them, and the second undoes the first


def detect(
    series: Sequence[Series],
    *,
    alpha: float = 0.05,
    axis: str = "auto",
    events: Sequence[ConfigEvent] = (),
) -> list[Transition]:
    """Find the transitions of one run.

    A level change narrower than a quarter of the axis (and than 0.9 decades of steps), or a turning
    point, is a transition; relaxations, power laws and drifts are not. All series are judged
    together: those that change at one place, give or take a lag, are one transition. What is not
    believed at ``alpha`` is noise, and the rest is judged beside that noise.

    Args:
        series: All metrics of the run. One named ``lr`` or ``lr/...`` is the recipe: no witness,
            but what happens in step with it is put down to it.
        alpha: Share of runs without a change in which one or more may be reported.
        axis: ``"log"`` or ``"linear"`` steps; ``"auto"`` takes the one the snapshots are spaced on.
        events: What was done to the run. What they explain is no transition; where it would have
            been taken for one, it is returned with the event's kind in ``event``.

    Returns:
        The transitions and marks by midpoint; none when the run is too short to tell (10
        snapshots). The rate ``alpha`` is that of transitions, which have no ``event``.

    Raises:
        ConfigError: ``alpha`` is no rate, or ``axis`` none of the three.
    """
    if not 0 < alpha < 1:
        raise ConfigError(f"alpha={alpha!r}: must lie between 0 and 1. Pass alpha=0.05.")
    found = _find(series, alpha=alpha, axis=axis, events=events)
    if not events:
        return found
    # a trend that may swing to either side could pass for a change anywhere: it is asked only for
    # those that lie where the optimizer may still swing
    starts = starts_of(events, linear=True)
    early = [t for t in found if any(s.step <= t.midpoint <= s.settled for s in starts)]
    if early:
        sure = _find(series, alpha=alpha, axis=axis, events=events, starts=starts)
        found = [t for t in found if t not in early or _overlaps(t, sure)]
    measured = [s for s in series if not is_recipe(s)]
    unexplained = _find(measured, alpha=alpha, axis=axis, events=())
    marks = _marks(measured, unexplained, found, events)
    return sorted([*found, *marks], key=lambda t: t.midpoint)


def _marks(
    series: Sequence[Series],
    unexplained: Sequence[Transition],
    found: Sequence[Transition],
    events: Sequence[ConfigEvent],
) -> Iterator[Transition]:
    """Yield the changes that only the events explain, each with the event nearest its midpoint."""
    if not unexplained:
        return
    grid = np.unique(np.concatenate([one.step for one in series]))
    for one in unexplained:
        near = [event for event in events if _coincides(one, event, grid)]
        if near and not _overlaps(one, found):
            event = min(near, key=lambda event: abs(event.step - one.midpoint))
            yield one._replace(event=event.kind)


def _coincides(
    one: Transition,
    event: ConfigEvent,
    grid: npt.NDArray[np.int64],
) -> bool:
    """Say whether an event lies in a change, which is known to the snapshots around it."""
    settled = max((start.settled for start in starts_of([event])), default=event.step)
    before = grid[grid <= one.onset].max(initial=0)
    after = grid[grid >= one.end].min(initial=grid[-1])
    return bool(before <= settled and event.step <= after)


def _overlaps(one: Transition, others: Sequence[Transition]) -> bool:
    return any(t.onset <= one.end and one.onset <= t.end for t in others)


def _find(
    series: Sequence[Series],
    *,
    alpha: float,
    axis: str,
    events: Sequence[ConfigEvent],
    starts: Sequence[Start] | None = None,
) -> list[Transition]:
    """Return the transitions that the events do not explain."""
    starts = starts_of(events) if starts is None else starts
    models, line = _models(series, axis=axis, events=events, starts=starts)
    if not models or line is None:
        return []
    told = [learn_noise(model) for model in models]
    if any(model.jumps for model in models):  # what a resume left on one series it may have on all
        models, _ = _models(series, axis=axis, events=events, starts=starts, jumped=True)
        told = [learn_noise(model) for model in models]
    odds, clusters = _believed(models, told, alpha=alpha)
    clusters += find_weak(odds, clusters, alpha=alpha)
    add_company(odds, clusters)
    clusters = settle(_merged(clusters, odds, alpha=alpha), odds)
    dated = [date(c, clusters, odds, line, alpha=alpha) for c in clusters]
    found = sorted(_distinct([t for t in dated if t is not None]), key=lambda t: t.midpoint)
    return _lasting(found, np.unique(np.concatenate([m.curve.step for m in models])))


def _distinct(found: Sequence[Transition]) -> list[Transition]:
    """Leave out what lies, on a close look, within a stronger change of the same series.

    Args:
        found: The strongest first.
    """
    kept: list[Transition] = []
    for one in found:
        told = {(m.metric, m.site): m for other in kept for m in other.moves}
        same = [(m, told[m.metric, m.site]) for m in one.moves if (m.metric, m.site) in told]
        if not any(m.onset <= own.midpoint <= m.end for own, m in same):
            kept.append(one)
    return kept


def _lasting(found: Sequence[Transition], grid: npt.NDArray[np.floating]) -> list[Transition]:
    """Leave out pairs of changes of which the second undoes the first at once: a spike.

    Args:
        found: Transitions by midpoint.
        grid: Steps of the run's snapshots, ascending.
    """
    spikes = [
        pair
        for pair in itertools.pairwise(found)
        if np.sum((grid > pair[0].midpoint) & (grid < pair[1].midpoint)) <= SPIKE_POINTS
        and _undoes(*pair)
    ]
    return [t for t in found if not any(t is one for pair in spikes for one in pair)]


def _undoes(first: Transition, last: Transition) -> bool:
    """Say whether two level changes are of the same series, which are then where they were."""
    if {first.kind, last.kind} != {"step"}:
        return False
    one, other = ({(m.metric, m.site): m.effect for m in t.moves} for t in (first, last))
    return one.keys() == other.keys() and all(
        abs(one[s] + other[s]) <= UNDONE * max(abs(one[s]), abs(other[s])) for s in one
    )


def _models(
    series: Sequence[Series],
    *,
    axis: str,
    events: Sequence[ConfigEvent],
    starts: Sequence[Start],
    jumped: bool = False,
) -> tuple[list[SeriesModel], Axis | None]:
    """Return a model of every series that can be evaluated, and the run's axis.

    ``jumped``: events that need not have left a jump did.
    """
    schedules = [s for s in series if is_recipe(s)]
    measured = sorted((s for s in series if not is_recipe(s)), key=lambda s: (s.metric, s.site))
    steps = [s.step[np.isfinite(s.value)] for s in measured]
    grid = np.unique(np.concatenate(steps)).astype(float) if steps else np.empty(0)
    if grid.size < MIN_POINTS:
        return [], None
    line = choose_axis(grid, kind=axis)
    models = []
    for one in measured:
        curve = make_curve(one, line, grid, starts=starts)
        bank = make_bank(curve.u, widest(line)) if curve is not None else None
        if curve is not None and bank is not None:
            marks = recipe_columns(curve.step, line, events=events, schedules=schedules)
            jumps = jump_columns(curve.step, events)
            if jumped:
                marks, jumps = np.hstack([marks, *jumps]), []
            models.append(SeriesModel(curve, marks, bank, widest(line), jumps))
    return models, line


def _believed(
    models: Sequence[SeriesModel], told: Sequence[list[Shape]], *, alpha: float
) -> tuple[Chance, list[Cluster]]:
    """Return what chance can do, and the clusters it does not explain: strongest first, merged.

    A change that is not believed is noise, and a story that has it takes the noise for too small
    and too little correlated: its series learns its noise again without it, and all are judged anew
    until nothing falls that was told.

    Args:
        models: The run's series; their noise is set.
        told: The changes that each tells.
        alpha: The nominal rate.
    """
    while True:
        odds = chance(models, np.random.default_rng(SEED))
        clusters = join(told_parts(models, told))
        clusters = [c for c in clusters if odds.p_value(strength(c, odds)) <= alpha]
        clusters = _merged(clusters, odds, alpha=alpha)
        kept = [shapes_of(clusters, s) for s in range(len(models))]
        fell = [s for s, shapes in enumerate(kept) if len(shapes) < len(told[s])]
        if not fell:
            return odds, clusters
        for s in fell:
            relearn_noise(models[s], kept[s])
        told = [kept[s] if s in fell else shapes for s, shapes in enumerate(told)]


def _merged(clusters: Sequence[Cluster], odds: Chance, *, alpha: float) -> list[Cluster]:
    return merge(sorted(clusters, key=lambda c: -strength(c, odds)), odds, alpha=alpha)
