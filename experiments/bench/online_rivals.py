"""Live detectors that are used elsewhere: CUSUM and Bayesian online change-point detection.

Both look at how far each snapshot is from what a line through the last ten of its series predicts,
in standard deviations, and start anew after an alarm.

Source:
    Page 1954 (CUSUM); Adams & MacKay 2007, arXiv:0710.3742 (Bayesian online detection).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from devtrack.changepoints._event_regressors import is_config_series
from devtrack.changepoints._step_scale import choose_axis
from devtrack.series import ConfigEvent, Series

LINE = 10  # points that the local line runs through
SLACK = 0.5  # of the CUSUM, in standard deviations
HAZARD = 1 / 250  # changes per snapshot, in the Bayesian detector
FRESH = 5  # a run length of at most this, in the Bayesian detector, is a change

Run = tuple[list[Series], list[ConfigEvent]]
Values = Mapping[str, tuple[float, float]]


class Snapshot(NamedTuple):
    """What a monitor gets to see at once."""

    step: int
    values: dict[str, tuple[float, float]]
    rate: float | None


def snapshots(run: Run) -> Iterator[Snapshot]:
    """Yield a run as it would have come in; of a step measured twice, the last."""
    tables = {
        f"{s.metric}@{s.site}": {
            int(t): (float(v), float(e)) for t, v, e in zip(s.step, s.value, s.se, strict=True)
        }
        for s in run[0]
    }
    rates = {f"{s.metric}@{s.site}" for s in run[0] if is_config_series(s)}
    for step in sorted({step for table in tables.values() for step in table}):
        here = {name: table[step] for name, table in tables.items() if step in table}
        rate = next((here[name][0] for name in rates if name in here), None)
        yield Snapshot(step, {k: v for k, v in here.items() if k not in rates}, rate)


def cusum(run: Run, threshold: float) -> list[int]:
    """Return the alarms of a two-sided CUSUM on the errors of a local line's predictions."""
    alarms: list[int] = []
    line, sums = LocalLine(run), dict[str, tuple[float, float]]()
    for step, values, _ in snapshots(run):
        for name, z in line.errors(step, values).items():
            up, down = sums.get(name, (0.0, 0.0))
            sums[name] = max(0.0, up + z - SLACK), max(0.0, down - z - SLACK)
        if max((max(pair) for pair in sums.values()), default=0.0) > threshold:
            alarms.append(step)
            line, sums = LocalLine(run), {}
    return alarms


def bayesian(run: Run, threshold: float) -> list[int]:
    """Return the alarms of Bayesian online detection (Adams & MacKay) on the same errors."""
    alarms: list[int] = []
    line, state = LocalLine(run), dict[str, tuple[np.ndarray, ...]]()
    for step, values, _ in snapshots(run):
        score = -np.inf
        for name, z in line.errors(step, values).items():
            state[name], fresh = _bayes_step(state.get(name), z)
            if len(state[name][0]) > 2 * FRESH:
                score = max(score, fresh)
        if score > threshold:
            alarms.append(step)
            line, state = LocalLine(run), {}
    return alarms


class LocalLine:
    """Predicts each series one snapshot ahead by a line through its last points."""

    def __init__(self, run: Run) -> None:
        self._axis = choose_axis(np.concatenate([s.step for s in run[0]]))
        self._points: dict[str, list[tuple[float, float]]] = {}
        self._errors: dict[str, list[float]] = {}

    def errors(self, step: int, values: Values) -> dict[str, float]:
        """Return the prediction errors in standard deviations: the largest of se and their own."""
        u, out = float(self._axis.fraction(step)), {}
        for name, (value, se) in values.items():
            if not np.isfinite(value):
                continue
            points = self._points.setdefault(name, [])
            if len(points) >= LINE:
                x, y = np.array(points[-LINE:]).T
                lever = (x - x.mean()) * (u - x.mean()) / np.sum((x - x.mean()) ** 2)
                own = self._errors.setdefault(name, [])
                own.append(value - float(y.mean() + lever @ y))
                spread = 1.4826 * float(np.median(np.abs(own))) if len(own) > 5 else 0.0
                scale = max(spread, se if np.isfinite(se) else 0.0)
                if scale > 0:
                    out[name] = own[-1] / scale
            points.append((u, value))
        return out


def _bayes_step(
    state: tuple[np.ndarray, ...] | None, value: float
) -> tuple[tuple[np.ndarray, ...], float]:
    """Return the next state (log run lengths, means, counts) and the log odds of a fresh run."""
    if state is None:
        state = (np.zeros(1), np.zeros(1), np.full(1, 1e-2))
    log_p, mean, count = state
    variance = 1 + 1 / count
    predicted = log_p - 0.5 * (np.log(variance) + (value - mean) ** 2 / variance)
    grown = np.r_[np.logaddexp.reduce(predicted) + np.log(HAZARD), predicted + np.log1p(-HAZARD)]
    grown -= np.logaddexp.reduce(grown)
    mean = np.r_[value, (count * mean + value) / (count + 1)]
    count = np.r_[1.0, count + 1]
    recent, old = grown[1 : FRESH + 1], grown[FRESH + 1 :]
    odds = np.logaddexp.reduce(recent) - np.logaddexp.reduce(old) if old.size else -np.inf
    return (grown, mean, count), float(odds)
