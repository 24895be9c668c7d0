"""Runs with labelled transitions: those of ``tests/data/transitions``, or others in such files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from devtrack.series import ConfigEvent, Series
from experiments.bench.online_rivals import Run

Array = npt.NDArray[np.float64]

DATA = Path(__file__).resolve().parents[2] / "tests" / "data" / "transitions"
REQUIRED = ("step", "critical")
OPTIONAL = ("optional", "slope")


class Label(NamedTuple):
    """One labelled change; its places are fractions of the axis of its run."""

    onset: float
    midpoint: float
    end: float
    kind: str
    snr: float
    metrics: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """Labels and axes of some runs.

    The axis of a run is log(step + 1) or the step itself, as its snapshots are spaced. Fractions
    of it go from 0 at the first snapshot to 1 at the last.

    Attributes:
        runs: One line per run, by its name, with ``source``, ``family`` and ``axis``.
        steps: Of the snapshots of a run, each once, (snapshot,).
        labels: Of a run, in the order of the file.
    """

    runs: pd.DataFrame
    steps: dict[str, Array]
    labels: dict[str, list[Label]]

    def position(self, run: str, step: npt.ArrayLike) -> Array:
        """Return steps of a run as fractions of its axis, in the shape of ``step``."""
        return _fraction(self.runs.at[run, "axis"] == "log", self.steps[run], step)

    def required(self, run: str) -> list[Label]:
        """Return the changes that a detector has to find."""
        return [label for label in self.labels[run] if label.kind in REQUIRED]

    def optional(self, run: str) -> list[Label]:
        """Return the changes that are neither required nor a mistake."""
        return [label for label in self.labels[run] if label.kind in OPTIONAL]

    def nuisances(self, run: str) -> list[Label]:
        """Return the effects of events that are no transitions."""
        return [label for label in self.labels[run] if label.kind.startswith("nuisance")]

    def is_quiet(self, run: str) -> bool:
        """Say whether a run has no change but those of events."""
        return not self.required(run) and not self.optional(run)


def read_benchmark(folder: Path) -> Benchmark:
    """Return the labels and axes of a folder of labelled runs."""
    runs = pd.read_csv(folder / "runs.csv").set_index("run")
    metrics = pd.read_csv(folder / "metrics.csv.gz", usecols=["run", "step"])
    steps = {str(run): np.unique(s.to_numpy(float)) for run, s in metrics.groupby("run")["step"]}
    labels: dict[str, list[Label]] = {run: [] for run in runs.index}
    for row in pd.read_csv(folder / "labels.csv").to_dict("records"):
        run = row["run"]
        places = [row["start_step"], row["mid_step"], row["end_step"]]
        onset, midpoint, end = _fraction(runs.at[run, "axis"] == "log", steps[run], places)
        metrics = frozenset(row["metrics"].split("|"))
        labels[run].append(Label(onset, midpoint, end, row["kind"], row["snr"], metrics))
    return Benchmark(runs=runs, steps=steps, labels=labels)


def read_runs(folder: Path) -> dict[str, Run]:
    """Return the series and the events of the runs in a folder of labelled runs."""
    metrics, events = pd.read_csv(folder / "metrics.csv.gz"), pd.read_csv(folder / "events.csv")
    runs: dict[str, Run] = {}
    for name, rows in metrics.groupby("run", sort=False):
        series = [
            Series(str(m), str(c), g.step.to_numpy(), g.value.to_numpy(float), g.se.to_numpy(float))
            for (m, c), g in rows.groupby(["metric", "component"])  # pyright: ignore
        ]
        own = events[events.run == name]
        marks = [ConfigEvent(float(s), str(e)) for s, e in zip(own.step, own.event, strict=True)]
        runs[str(name)] = (series, marks)
    return runs


def _fraction(is_log: bool, steps: Array, step: npt.ArrayLike) -> Array:
    place = np.maximum(np.asarray(step, float), 0.0)
    first, last = steps[0], steps[-1]
    if is_log:
        place, first, last = np.log1p(place), np.log1p(first), np.log1p(last)
    return (place - first) / (last - first)
