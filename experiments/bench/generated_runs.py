"""Draw generated runs with known transitions, and write them as a folder of labelled runs.

The kinds of labels:

* ``step`` is a level change that is narrow on the axis of its run. From onset to end it takes at
  most a quarter of the axis, and at most 0.9 decades of steps.
* ``critical`` is a turning point: the slope of a metric changes its sign.
* ``slope`` is a change of slope that keeps the sign: neither required nor a mistake.
* ``nuisance_*`` is an effect of an event: reporting it is a false alarm.

Smooth curves are never transitions, although an exponential relaxation looks like a wide sigmoid
over the logarithm of steps.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from experiments.bench.generated_curves import OWN, Array, Ranges, Rng, Steps
from experiments.bench.generated_run import GeneratedRun
from experiments.bench.labelled_runs import REQUIRED
from experiments.bench.run_families import FAMILIES

PUBLIC_SEED = 20240
COUNTS = {
    "step": 16,
    "multi": 16,
    "stair": 14,
    "turn": 12,
    "mixed": 8,
    "weak": 8,
    "smooth": 24,
    "nuisance": 14,
    "flat": 8,
}
"""Runs of each family in a set."""
PLACES = ("onset", "midpoint", "end")


def draw_run(family: str, index: int, seed: int, *, ranges: Ranges = OWN) -> GeneratedRun:
    """Draw one run: the same arguments give the same run.

    Args:
        family: A name in ``COUNTS``.
        index: Number within the family.
        seed: Of the set.
        ranges: What is drawn from.
    """
    rng = np.random.default_rng([seed, zlib.crc32(family.encode()), index])
    snapshots = None
    if family in ("step", "stair", "smooth") and index % 12 == 7:
        snapshots = int(rng.choice(ranges.many_snapshots))
    axis, steps = _draw_steps(rng, snapshots or int(rng.choice(ranges.snapshots)))
    run = GeneratedRun(f"p_{family}_{index:02d}", family, axis, steps, rng, ranges)
    FAMILIES[family](run)
    # places become steps before snapshots are dropped: they are fractions of the whole axis
    run.labels = [
        label._replace(**{p: run.step_of(min(max(getattr(label, p), 0.0), 1.0)) for p in PLACES})
        for label in run.labels
    ]
    run.events = [(run.step_of(u), event) for u, event in run.events]
    _corrupt(run)
    if rng.random() < 0.25:  # a harmless event: nothing happens to the curves
        run.events.append((run.step_of(float(rng.uniform(0.1, 0.9))), "resume"))
    return run


def draw_runs(seed: int, *, ranges: Ranges = OWN) -> list[GeneratedRun]:
    """Draw a set of runs of all families."""
    return [
        draw_run(family, index, seed, ranges=ranges)
        for family, count in COUNTS.items()
        for index in range(count)
    ]


def write_runs(folder: Path, runs: Iterable[GeneratedRun]) -> None:
    """Write runs as a folder of labelled runs, with five digits of each value."""
    curves: list[pd.DataFrame] = []
    labels: list[dict[str, object]] = []
    lines: list[dict[str, object]] = []
    events: list[dict[str, object]] = []
    for run in runs:
        own = sorted(run.labels, key=lambda label: label.midpoint)
        for (metric, site), (value, se) in run.series.items():
            columns = {"step": run.steps, "value": _text(value, 5), "se": _text(se, 5)}
            curves.append(
                pd.DataFrame({"run": run.name, "metric": metric, "component": site, **columns})
            )
        for number, label in enumerate(own):
            start, mid, end, snr = _text(
                np.array([label.onset, label.midpoint, label.end, label.snr]), 6
            )
            labels.append(
                {
                    "run": run.name,
                    "transition_id": number,
                    "start_step": start,
                    "mid_step": mid,
                    "end_step": end,
                    "metrics": "|".join(sorted(label.metrics)),
                    "kind": label.kind,
                    "snr": snr,
                }
            )
        for step, event in sorted(run.events):
            events.append({"run": run.name, "step": round(step), "event": event})
        lines.append(
            {
                "run": run.name,
                "source": "synthetic",
                "family": run.family,
                "axis": run.axis,
                "n_snapshots": run.steps.size,
                "n_transitions": sum(label.kind in REQUIRED for label in own),
            }
        )
    pd.concat(curves).to_csv(folder / "metrics.csv.gz", index=False)
    pd.DataFrame(labels).to_csv(folder / "labels.csv", index=False)
    pd.DataFrame(lines).to_csv(folder / "runs.csv", index=False)
    pd.DataFrame(events).to_csv(folder / "events.csv", index=False)


def _draw_steps(rng: Rng, count: int) -> tuple[str, Steps]:
    """Draw the axis and the steps of about ``count`` snapshots."""
    axis = "log" if rng.random() < 0.65 else "linear"
    total = int(10 ** rng.uniform(3.3, 5.5))
    if axis == "linear":
        every = max(1, total // count)
        return axis, np.arange(count) * every + int(rng.choice([0, every]))
    first = int(rng.choice([1, 1, 10, 30]))
    steps = np.unique(np.geomspace(first, total, int(count * 1.15)).astype(int))
    if first == 1 and rng.random() < 0.4:
        steps = np.r_[0, steps]
    return axis, steps


def _corrupt(run: GeneratedRun) -> None:
    """Drop snapshots and values, and repeat some steps as a training does that was resumed."""
    rng, count = run.rng, run.steps.size
    keep = np.ones(count, bool)
    if count >= 50 and rng.random() < 0.35:
        keep &= rng.random(count) > rng.uniform(0.1, 0.4)
    if count >= 50 and rng.random() < 0.2:
        first = int(rng.integers(0, count - 5))
        keep[first : first + max(2, count // 25)] = False
    keep[[0, -1]] = True
    index = np.flatnonzero(keep)
    repeated = np.zeros(index.size, bool)
    if rng.random() < 0.2:
        first = int(rng.integers(1, index.size - 4))
        index = np.sort(np.r_[index, index[first : first + 3]])
        repeated = np.r_[False, np.diff(index) == 0]
    has_gaps = False
    for key, (value, se) in run.series.items():
        value, se = value[index].copy(), se[index].copy()
        if key[0] != "lr":
            if repeated.any():  # a repeated evaluation has fresh noise
                known = np.where(np.isfinite(se[repeated]), se[repeated], 0)
                value[repeated] += known * rng.standard_normal(int(repeated.sum()))
            if has_gaps or rng.random() < 0.15:
                value[rng.random(value.size) < 0.06] = np.nan
                has_gaps = True
        run.series[key] = (value, se)
    run.steps = run.steps[index]


def _text(values: Array, digits: int) -> list[str]:
    return [f"{value:.{digits}g}" if np.isfinite(value) else "" for value in values]
