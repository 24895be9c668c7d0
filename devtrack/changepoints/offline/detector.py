"""The seam of the detector: series in, transitions out."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from devtrack.changepoints._config_checks import require_config
from devtrack.changepoints._event_regressors import (
    event_columns,
    is_config_series,
    jump_columns,
    optimizer_starts,
)
from devtrack.changepoints._momentum_transient import OptimizerStart
from devtrack.changepoints._preprocessing import MIN_POINTS, prepare_series
from devtrack.changepoints._step_scale import Axis, choose_axis
from devtrack.changepoints._templates import Shape, make_template_bank, max_transition_width
from devtrack.changepoints.config import DetectorConfig, ShapeCheckConfig
from devtrack.changepoints.offline._clustering import (
    ChangeCluster,
    add_comoving_series,
    cluster_evidence,
    joint_scan,
    link,
    merge,
    selected_changes,
    shapes_in,
)
from devtrack.changepoints.offline._location import locate, relocate
from devtrack.changepoints.offline._segmentation import estimate_noise, reestimate_noise
from devtrack.changepoints.offline._series_model import SeriesModel
from devtrack.changepoints.offline._significance import NullDistribution, simulate_null
from devtrack.errors import ConfigError
from devtrack.series import ConfigEvent, Series, Transition


def detect(
    series: Sequence[Series],
    *,
    alpha: float = 0.05,
    axis: str = "auto",
    events: Sequence[ConfigEvent] = (),
    config: DetectorConfig | None = None,
) -> list[Transition]:
    """Find the transitions of one run.

    A level change narrower than a quarter of the axis (and than 0.9 decades of steps) is a
    transition. So is a turning point. Relaxations, power laws and drifts are not. All series are
    analysed together: those that change at one place, up to a lag, are one transition. Changes that
    are not significant at ``alpha`` are treated as noise, and the rest is tested against that
    noise.

    Args:
        series: All metrics of the run. One named ``lr`` or ``lr/...`` is configuration, no
            evidence, but what happens in step with it is put down to it.
        alpha: Share of runs without a change in which one or more may be reported.
        axis: ``"log"`` or ``"linear"`` steps; ``"auto"`` takes the one the snapshots are spaced on.
        events: What was done to the run. What they explain is no transition; where it would have
            been taken for one, it is returned with the event's kind in ``event``.
        config: The detector's constants; ``DetectorConfig()`` if None.

    Returns:
        The transitions and marks by midpoint; none when the run is too short to tell (10
        snapshots). The rate ``alpha`` is that of transitions, which have no ``event``.

    Raises:
        ConfigError: ``alpha`` is no rate, ``axis`` none of the three, or ``config`` no
            ``DetectorConfig``.
    """
    if not 0 < alpha < 1:
        raise ConfigError(f"alpha={alpha!r}: must lie between 0 and 1. Pass alpha=0.05.")
    config = DetectorConfig() if config is None else config
    require_config("config", config, DetectorConfig)
    starts = optimizer_starts(events)
    run = _fit(series, config, axis=axis, events=events, starts=starts)
    if run is None:
        return []
    found = _transitions(run, config, alpha=alpha)
    if not starts and not any(model.has_event_effects for model in run.models):
        return found  # nothing but the series themselves explains them
    # a trend that may swing to either side could pass for a change anywhere: it is asked only for
    # those that lie where the optimizer may still swing
    linear = optimizer_starts(events, linear=True)
    early = [t for t in found if any(s.step <= t.midpoint <= s.settled for s in linear)]
    if early:
        swinging = _fit(series, config, axis=axis, events=events, starts=linear)
        confirmed = _transitions(swinging, config, alpha=alpha) if swinging else []
        found = [t for t in found if t not in early or _overlaps(t, confirmed)]
    measured = [s for s in series if not is_config_series(s)]
    bare = _fit(measured, config, axis=axis, events=(), starts=())
    unexplained = _transitions(bare, config, alpha=alpha) if bare else []
    event_effects = _event_attributed(measured, unexplained, found, events)
    return sorted([*found, *event_effects], key=lambda t: t.midpoint)


class _FittedRun(NamedTuple):
    """The models of a run's series, their noise learned, and the changes of each."""

    models: list[SeriesModel]
    selected: list[list[Shape]]
    line: Axis


def _event_attributed(
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
    settled = max((start.settled for start in optimizer_starts([event])), default=event.step)
    before = grid[grid <= one.onset].max(initial=0)
    after = grid[grid >= one.end].min(initial=grid[-1])
    return bool(before <= settled and event.step <= after)


def _overlaps(one: Transition, others: Sequence[Transition]) -> bool:
    return any(t.onset <= one.end and one.onset <= t.end for t in others)


def _fit(
    series: Sequence[Series],
    config: DetectorConfig,
    *,
    axis: str,
    events: Sequence[ConfigEvent],
    starts: Sequence[OptimizerStart],
) -> _FittedRun | None:
    """Learn the noise and select the changes of every series; None if there are too few points.

    What a resume left on one series it may have left on all. So as soon as one has a jump, those
    without are fitted again with it.
    """
    models, line = _models(series, config, axis=axis, events=events, starts=starts)
    if not models or line is None:
        return None
    selected = [estimate_noise(model) for model in models]
    if any(model.jumps for model in models):
        jumped, _ = _models(series, config, axis=axis, events=events, starts=starts, jumped=True)
        for s, model in enumerate(models):
            if not model.jumps:
                models[s], selected[s] = jumped[s], estimate_noise(jumped[s])
    return _FittedRun(models, selected, line)


def _transitions(run: _FittedRun, config: DetectorConfig, *, alpha: float) -> list[Transition]:
    """Return the transitions that the events do not explain."""
    null, clusters = _significant(run.models, run.selected, config, alpha=alpha)
    clusters += joint_scan(null, clusters, alpha=alpha)
    add_comoving_series(null, clusters)
    clusters = relocate(_merged(clusters, null, config, alpha=alpha), null)
    located = [locate(c, clusters, null, run.line, config, alpha=alpha) for c in clusters]
    found = sorted(
        _drop_duplicates([t for t in located if t is not None]), key=lambda t: t.midpoint
    )
    grid = np.unique(np.concatenate([m.curve.step for m in run.models]))
    return _drop_spikes(found, grid, config.shape_checks)


def _drop_duplicates(found: Sequence[Transition]) -> list[Transition]:
    """Leave out what lies, on a close look, within a stronger change of the same series.

    Args:
        found: The strongest first.
    """
    retained: list[Transition] = []
    for one in found:
        selected = {(m.metric, m.site): m for other in retained for m in other.moves}
        same = [
            (m, selected[m.metric, m.site]) for m in one.moves if (m.metric, m.site) in selected
        ]
        if not any(m.onset <= own.midpoint <= m.end for own, m in same):
            retained.append(one)
    return retained


def _drop_spikes(
    found: Sequence[Transition], grid: npt.NDArray[np.floating], config: ShapeCheckConfig
) -> list[Transition]:
    """Leave out pairs of changes of which the second undoes the first at once: a spike.

    Args:
        found: Transitions by midpoint.
        grid: Steps of the run's snapshots, ascending.
        config: Which changes show in the fitted curve.
    """
    spikes = [
        pair
        for pair in itertools.pairwise(found)
        if np.sum((grid > pair[0].midpoint) & (grid < pair[1].midpoint)) <= config.max_spike_points
        and _is_reversal(*pair, max_rest=config.max_reversal_rest)
    ]
    return [t for t in found if not any(t is one for pair in spikes for one in pair)]


def _is_reversal(first: Transition, last: Transition, *, max_rest: float) -> bool:
    """Say whether two level changes are of the same series, which are then where they were."""
    if {first.kind, last.kind} != {"step"}:
        return False
    one, other = ({(m.metric, m.site): m.effect for m in t.moves} for t in (first, last))
    return one.keys() == other.keys() and all(
        abs(one[s] + other[s]) <= max_rest * max(abs(one[s]), abs(other[s])) for s in one
    )


def _models(
    series: Sequence[Series],
    config: DetectorConfig,
    *,
    axis: str,
    events: Sequence[ConfigEvent],
    starts: Sequence[OptimizerStart],
    jumped: bool = False,
) -> tuple[list[SeriesModel], Axis | None]:
    """Return a model of every series that can be evaluated, and the run's axis.

    ``jumped``: events that need not have left a jump did.
    """
    schedules = [s for s in series if is_config_series(s)]
    measured = sorted(
        (s for s in series if not is_config_series(s)), key=lambda s: (s.metric, s.site)
    )
    steps = [s.step[np.isfinite(s.value)] for s in measured]
    grid = np.unique(np.concatenate(steps)).astype(float) if steps else np.empty(0)
    if grid.size < MIN_POINTS:
        return [], None
    line = choose_axis(grid, kind=axis)
    top = max_transition_width(line, config.templates)
    models = []
    for one in measured:
        curve = prepare_series(one, line, grid, config, starts=starts)
        if curve is None:
            continue
        bank = make_template_bank(curve.position, top, config.templates)
        if bank is not None:
            event_effects = event_columns(
                curve.step, line, config.events, events=events, schedules=schedules
            )
            jumps = jump_columns(curve.step, events)
            if jumped:
                event_effects, jumps = np.hstack([event_effects, *jumps]), []
            models.append(SeriesModel(curve, event_effects, bank, top, jumps, config=config))
    return models, line


def _significant(
    models: Sequence[SeriesModel],
    selected: Sequence[list[Shape]],
    config: DetectorConfig,
    *,
    alpha: float,
) -> tuple[NullDistribution, list[ChangeCluster]]:
    """Return what chance can do, and the clusters it does not explain: strongest first, merged.

    Changes that are not significant at ``alpha`` are treated as noise. The noise model of their
    series is re-estimated without them. Significance is recomputed until no further change is
    dropped.

    Args:
        models: The run's series; their noise is set.
        selected: The changes of each.
        config: The detector's constants.
        alpha: The nominal rate.
    """
    while True:
        null = simulate_null(models, np.random.default_rng(config.seed), config.significance)
        clusters = link(selected_changes(models, selected), config)
        clusters = [c for c in clusters if null.p_value(cluster_evidence(c, null)) <= alpha]
        clusters = _merged(clusters, null, config, alpha=alpha)
        retained = [shapes_in(clusters, s) for s in range(len(models))]
        reduced = [s for s, shapes in enumerate(retained) if len(shapes) < len(selected[s])]
        if not reduced:
            return null, clusters
        for s in reduced:
            reestimate_noise(models[s], retained[s])
        selected = [retained[s] if s in reduced else shapes for s, shapes in enumerate(selected)]


def _merged(
    clusters: Sequence[ChangeCluster],
    null: NullDistribution,
    config: DetectorConfig,
    *,
    alpha: float,
) -> list[ChangeCluster]:
    strongest_first = sorted(clusters, key=lambda c: -cluster_evidence(c, null))
    return merge(strongest_first, null, config.clusters, alpha=alpha)
