"""Measure how soon the live detector sees a change, and how often its alarm is false.

    python -m experiments.bench.monitor [--data FOLDER] [--quiet 60] [--calibrate 101] [--seed 106]
        [--labelled SEED ...]

Prints one table: devtrack's online detector, a plain CUSUM and a Bayesian online detector (Adams &
MacKay 2007). The figures, and what was tried, stand in ``results/monitor.md``.

The thresholds of the last two are set to one false alarm per 1000 snapshots, on generated quiet
runs of seed ``--calibrate``. False alarms are then counted on quiet runs of seed ``--seed``, and on
those of the labelled benchmark. Detection and delay are measured on the benchmark.

* The option ``--data`` is the benchmark's folder, by default ``tests/data/transitions``.
* The option ``--labelled`` draws labelled runs of these seeds instead, and scores them together.
  The public part is too small to say much about the tail of the delay.

Delays are those of detected changes. A detector that misses what is hard to see looks fast, so the
last two lines count all changes. The 90 % delay depends on few late ones and has a bootstrap
interval over the runs.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from multiprocessing import Pool
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd

from devtrack.changepoints.online.detector import OnlineDetector
from devtrack.series import ConfigEvent, Series
from experiments.bench.generated_runs import draw_run, draw_runs, write_runs
from experiments.bench.labelled_runs import DATA, Benchmark, read_benchmark, read_runs
from experiments.bench.online_rivals import Run, bayesian, cusum, snapshots
from experiments.bench.transitions import QUIET_FAMILIES
from experiments.bench.transitions_score import score_online

PER_1000 = 1.0
RESAMPLED = 200  # sets of runs drawn for an interval

Detector = Callable[[Run, float], list[int]]


def devtrack(run: Run, per_1000: float) -> list[int]:
    """Return the steps of devtrack's alarms."""
    detector, events, alarms = OnlineDetector(false_alarms_per_1000=per_1000), list(run[1]), []
    for step, values, rate in snapshots(run):
        while events and events[0].step <= step:
            detector.add_event(events.pop(0))
        if detector.update(step, values, rate=rate) is not None:
            alarms.append(step)
    return alarms


def quiet_runs(count: int, seed: int) -> list[Run]:
    """Generate runs without a transition, with events of the configuration in a third of them."""
    weight = sum(QUIET_FAMILIES.values())
    runs: list[Run] = []
    for family, share in QUIET_FAMILIES.items():
        for index in range(count * share // weight):
            made = draw_run(family, index, seed)
            series = [Series(m, c, made.steps, y, se) for (m, c), (y, se) in made.series.items()]
            runs.append((series, [ConfigEvent(float(s), kind) for s, kind in sorted(made.events)]))
    return runs


def false_alarms(detector: Detector, threshold: float, runs: list[Run], pool: Any) -> float:
    """Return the alarms per 1000 snapshots."""
    alarms = pool.starmap(detector, [(run, threshold) for run in runs], chunksize=1)
    return 1000 * sum(map(len, alarms)) / sum(1 for run in runs for _ in snapshots(run))


def calibrate(detector: Detector, runs: list[Run], pool: Any, *, low: float, high: float) -> float:
    """Return the least threshold, to 1 %, with at most ``PER_1000`` false alarms."""
    while high - low > 0.01 * abs(high):
        middle = 0.5 * (low + high)
        if false_alarms(detector, middle, runs, pool) > PER_1000:
            low = middle
        else:
            high = middle
    return high


def draw_labelled(seeds: Iterable[int], folder: Path) -> None:
    """Write the generated runs of several seeds as one benchmark directory."""
    runs = []
    for seed in seeds:
        for run in draw_runs(seed):
            run.name = f"{seed}-{run.name}"
            runs.append(run)
    write_runs(folder, runs)


def figures(
    detector: Detector, threshold: float, fresh: list[Run], pool: Any, data: Path
) -> dict[str, Any]:
    """Return one line of the table, with the labelled runs of ``data``."""
    bench, runs = read_benchmark(data), read_runs(data)
    runs = {name: (series, sorted(events)) for name, (series, events) in runs.items()}
    found = pool.starmap(detector, [(run, threshold) for run in runs.values()], chunksize=1)
    alarms = dict(zip(runs, found, strict=True))
    scored = score_online(alarms, bench, list(bench.runs.index))
    tail = tail_interval(alarms, bench)
    quiet = [run for run in bench.runs.index if bench.is_quiet(run)]

    def rate(source: str) -> float:
        names = [run for run in quiet if bench.runs.at[run, "source"] == source]
        length = sum(len(bench.steps[run]) for run in names)
        return 1000 * sum(len(alarms[run]) for run in names) / length if length else float("nan")

    return {
        "threshold": threshold,
        "false/1000, fresh seed": false_alarms(detector, threshold, fresh, pool),
        "false/1000, benchmark": scored.alarms_per_1000,
        "of these generated": rate("synthetic"),
        "real": rate("real"),
        "changes": sum(len(bench.required(run)) for run in bench.runs.index),
        "detected": scored.detected,
        "delay from onset, median": scored.delay_median,
        "90 %": scored.delay_90,
        "90 %, from": tail[0],
        "to": tail[1],
        "from midpoint, median": scored.midpoint_delay_median,
        **{f"of all, within {n}": _share_within(n, alarms, bench) for n in (4, 19)},
    }


def tail_interval(alarms: Mapping[str, Sequence[int]], bench: Benchmark) -> tuple[float, float]:
    """Return the 90 % interval of the delay's 90 % quantile, by a bootstrap over the runs.

    Args:
        alarms: Steps of the alarms, by run.
        bench: The labelled runs.
    """
    rng = np.random.default_rng(0)  # the same runs for every detector
    names = np.array(bench.runs.index, object)
    drawn = (rng.choice(names, names.size).tolist() for _ in range(RESAMPLED))
    tails = [score_online(alarms, bench, runs).delay_90 for runs in drawn]
    low, high = np.nanquantile(tails, [0.05, 0.95])
    return float(low), float(high)


def _share_within(count: int, alarms: Mapping[str, Sequence[int]], bench: Benchmark) -> float:
    """Return the share of all changes with an alarm in the ``count`` snapshots from their onset on.

    Delays of the detected changes alone flatter a detector that misses those that are hard to see.
    """
    seen = []
    for run in bench.runs.index:
        grid = bench.position(run, bench.steps[run])
        at = bench.position(run, np.array(alarms[run], float))
        for change in bench.required(run):
            last = grid[min(int(np.sum(grid <= change.onset)) - 1 + count, grid.size - 1)]
            seen.append(bool(np.any((at >= change.onset) & (at <= last))))
    return float(np.mean(seen))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Score online detectors on labelled runs.")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of labelled runs")
    parser.add_argument("--quiet", type=int, default=60, help="quiet runs per seed")
    parser.add_argument("--calibrate", type=int, default=101, help="seed to set thresholds on")
    parser.add_argument("--seed", type=int, default=106, help="seed to count false alarms on")
    parser.add_argument(
        "--labelled", type=int, nargs="+", metavar="SEED", help="fresh labelled runs"
    )
    parser.add_argument("--processes", type=int, default=2)
    chosen = parser.parse_args()
    known = quiet_runs(chosen.quiet, chosen.calibrate)
    fresh = quiet_runs(chosen.quiet, chosen.seed)
    detectors: dict[str, tuple[Detector, float, float]] = {  # and where their thresholds may lie
        "devtrack": (devtrack, PER_1000, PER_1000),
        "CUSUM": (cusum, 1.0, 400.0),
        "Bayesian online": (bayesian, -5.0, 60.0),
    }
    lines = {}
    with TemporaryDirectory() as folder, Pool(chosen.processes) as pool:
        data = Path(folder) if chosen.labelled else chosen.data
        if chosen.labelled:
            draw_labelled(chosen.labelled, data)
        for name, (detector, low, high) in detectors.items():
            threshold = calibrate(detector, known, pool, low=low, high=high)
            lines[name] = figures(detector, threshold, fresh, pool, data)
    with pd.option_context("display.width", 200, "display.precision", 3):
        print(pd.DataFrame(lines).to_string())


if __name__ == "__main__":
    main()
