"""Change detection while a run goes on: one look at each new snapshot, all series together.

At every snapshot the evidence for a change is a sum over the snapshots after which it may have
begun. Each term is the odds "it began there" against "nothing began" (Shiryaev-Roberts). Under a
right model
that sum grows by 1 a snapshot on average, so that a threshold of 1000 keeps the average run length
above 1000. No model is quite right: ``threshold_offset`` is what measured runs without a change
need on top.

After an alarm the detector starts anew, with the alarm's snapshot as the first of its past.

Source:
    Shin, Ramdas & Rinaldo 2024, "E-detectors: a nonparametric framework for sequential change
    detection" (average run length of sums of e-values).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from devtrack.changepoints._config_checks import require_config
from devtrack.changepoints._event_regressors import (
    OPTIMIZER_START,
    event_columns,
    jump_columns,
    optimizer_starts,
)
from devtrack.changepoints._step_scale import Axis, choose_axis
from devtrack.changepoints.config import OnlineDetectorConfig
from devtrack.changepoints.online._bayes_factor import LogBayesFactor, log_bayes_factor
from devtrack.changepoints.online._window import HistoryWindow, history_window
from devtrack.errors import ConfigError
from devtrack.series import ConfigEvent, Series

Array = npt.NDArray[np.floating]


class SeriesAlarm(NamedTuple):
    """One series' part in an alarm.

    Args:
        name: The series.
        direction: ``"up"`` or ``"down"``, against the smooth course it was on.
        log_odds: Log Bayes factor that it changed.
    """

    name: str
    direction: str
    log_odds: float


class Alarm(NamedTuple):
    """A change of the run.

    Args:
        step: Step of the snapshot that showed it.
        onset: Step of the last snapshot before it.
        log_evidence: Log of the summed odds.
        threshold: What ``log_evidence`` had to exceed.
        moves: The series that took part, the surest first.
    """

    step: int
    onset: int
    log_evidence: float
    threshold: float
    moves: tuple[SeriesAlarm, ...]


class OnlineDetector:
    """Watches the series of one run.

    Args:
        false_alarms_per_1000: Alarms per 1000 snapshots of a run in which nothing changes.
        config: The detector's constants; ``OnlineDetectorConfig()`` if None.

    Raises:
        ConfigError: The rate is no positive number or more than 100, or ``config`` is no
            ``OnlineDetectorConfig``.
    """

    def __init__(
        self,
        *,
        false_alarms_per_1000: float = 1.0,
        config: OnlineDetectorConfig | None = None,
    ) -> None:
        rate = false_alarms_per_1000
        if not isinstance(rate, int | float) or not 0 < rate <= 100:
            raise ConfigError(
                f"false_alarms_per_1000={rate!r}: must be above 0 and at most 100, in alarms per "
                "1000 snapshots without a change. Pass false_alarms_per_1000=1."
            )
        self.config = OnlineDetectorConfig() if config is None else config
        require_config("config", self.config, OnlineDetectorConfig)
        self.threshold = math.log(1000 / rate) + self.config.threshold_offset
        self._points: dict[str, list[tuple[int, float, float]]] = {}
        self._grid: list[int] = []
        self._rates: list[tuple[int, float]] = []
        self._events: list[ConfigEvent] = []

    def add_event(self, event: ConfigEvent) -> None:
        """Take in that the training configuration changed: its effects are no change of the run."""
        self._events.append(event)

    def update(
        self,
        step: int,
        values: Mapping[str, tuple[float, float]],
        *,
        rate: float | None = None,
    ) -> Alarm | None:
        """Look at a new snapshot.

        A step that is not after the last one takes the run back: what was known of it and of later
        ones is forgotten. While the learning rate still rises from the start, or an optimizer with
        momentum gains its speed, no alarm is raised.

        Args:
            step: Optimizer steps completed.
            values: Value and standard error (NaN if unknown) of each series measured.
            rate: The learning rate, if known.
        """
        self.observe(step, values, rate=rate)
        evidence, alarm = self._evidence()
        if alarm is None or evidence <= self.threshold or self._is_warming_up():
            return None
        self.reset(step)
        return alarm

    def observe(
        self,
        step: int,
        values: Mapping[str, tuple[float, float]],
        *,
        rate: float | None = None,
    ) -> None:
        """Take a snapshot in without looking for a change (see ``update``)."""
        if self._grid and step <= self._grid[-1]:
            self._truncate(-1, step - 1)
        self._grid.append(step)
        for name, (value, se) in values.items():
            if math.isfinite(value):
                self._points.setdefault(name, []).append((step, value, se))
        if rate is not None:
            self._rates.append((step, rate))

    def reset(self, step: int) -> None:
        """Forget what lies before ``step``: the course that was smooth up to there is over."""
        self._truncate(step, math.inf)
        self._events = [e for e in self._events if e.step >= step or e.kind == OPTIMIZER_START]

    def _truncate(self, first: float, last: float) -> None:
        self._grid = [s for s in self._grid if first <= s <= last]
        for name, points in self._points.items():
            self._points[name] = [p for p in points if first <= p[0] <= last]
        # the learning rate's past stays: whether it ever fell says whether the warm-up is over
        self._rates = [r for r in self._rates if r[0] <= last]

    def _is_warming_up(self) -> bool:
        now, starts = self._grid[-1], optimizer_starts(self._events)
        if any(
            0 <= now - s.step <= self.config.startup_memories / (1 - s.momentum) for s in starts
        ):
            return True
        values = [value for _, value in self._rates]
        return len(values) > 1 and values[-1] > values[-2] and values == sorted(values)

    def _evidence(self) -> tuple[float, Alarm | None]:
        """Return the log evidence for a change, and the alarm if it suffices."""
        grid = np.array(self._grid, float)
        if grid.size < self.config.min_points_known:
            return -math.inf, None
        axis = choose_axis(grid)
        lags = np.array(self.config.lags)
        ages = lags[: int(np.sum(self.config.max_lag_share * grid.size >= lags))]
        onset = axis.fraction(grid)[-ages - 1]  # (age,)
        found: dict[str, LogBayesFactor] = {}
        measured: list[Array] = []  # with standard errors
        rough: list[Array] = []  # without, but their noise can be seen
        support: list[Array] = []
        for name, points in self._points.items():
            window = history_window(points, grid, self.config) if points else None
            if window is not None and window.step[-1] > grid[-ages[-1] - 1]:
                found[name] = log_bayes_factor(
                    window,
                    axis.fraction(window.step),
                    self.config,
                    now=1.0,
                    onset=onset,
                    event_effects=self._event_effects(window, axis),
                    starts=optimizer_starts(self._events, linear=True),
                )
                tier = (
                    measured if window.se_known else rough if window.noise_observable else support
                )
                tier.append(found[name].log_odds)
        # what looks like noise of a weight norm may be its course: the word of one without a
        # standard error counts only where none has one
        witness, support = (measured, rough + support) if measured else (rough, support)
        if not witness:
            return -math.inf, None
        most = self.config.max_moving_share
        odds = combine_bayes_factors(witness, most)
        if support:  # no sole witness: it can at most double what the others say
            odds = odds + np.clip(combine_bayes_factors(support, most), 0.0, np.maximum(odds, 0.0))
        odds = odds + np.log(np.diff(ages, prepend=0))  # an age stands for those since the last
        evidence, best = float(np.logaddexp.reduce(odds)), int(np.argmax(odds))
        began = int(grid[-ages[best] - 1])
        moves = _moves(found, best)
        return evidence, Alarm(self._grid[-1], began, evidence, self.threshold, moves)

    def _event_effects(self, window: HistoryWindow, axis: Axis) -> Array:
        """Return what known events may have left on a series, (point, column)."""
        rates = [(s, r) for s, r in self._rates if s >= window.step[0]]
        schedules = []
        if len({r for _, r in rates}) > 1:
            steps, values = np.array(rates).T
            schedules = [Series("lr", "optimizer", steps.astype(int), values)]
        event_effects = event_columns(
            window.step, axis, self.config.events, events=self._events, schedules=schedules
        )
        return np.hstack([event_effects, *jump_columns(window.step, self._events)])


def combine_bayes_factors(odds: Sequence[Array], max_moving_share: float) -> Array:
    """Return the log odds that some of the series changed, per age.

    The average over how many move together (one; the square root of all; most) of the product of
    "moves with that share's probability, or stays". An average of products of e-values is one too:
    idle series cost a little power and raise no alarms.

    Args:
        odds: Per series, log odds per age, (age,).
        max_moving_share: Share of the series that may change together.
    """
    table = np.array(odds)  # (series, age)
    if len(table) > 1 and table.shape[1] > 1:  # series move together give or take a lag
        padded = np.pad(table, ((0, 0), (1, 1)), mode="edge")
        neighbours = [padded[:, :-2], padded[:, 1:-1], padded[:, 2:]]
        table = np.logaddexp.reduce(neighbours) - math.log(3)
    mixtures = []
    for share in {1 / len(table), len(table) ** -0.5, max_moving_share}:
        stays = math.log1p(-share) if share < 1 else -math.inf
        mixtures.append(np.logaddexp(stays, math.log(share) + table).sum(axis=0))
    return np.logaddexp.reduce(mixtures) - math.log(len(mixtures))


def _moves(found: Mapping[str, LogBayesFactor], age: int) -> tuple[SeriesAlarm, ...]:
    """Return the series that rather moved than not, and the surest one in any case."""
    all_moves = [
        SeriesAlarm(name, "up" if s.sign[age] > 0 else "down", float(s.log_odds[age]))
        for name, s in found.items()
    ]
    ranked = sorted(all_moves, key=lambda move: -move.log_odds)
    return (ranked[0], *(move for move in ranked[1:] if move.log_odds > 0))
