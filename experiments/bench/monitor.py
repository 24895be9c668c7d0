"""How soon does the live detector see a change, and how often does it cry wolf?

    python -m experiments.bench.monitor [--quiet 60] [--calibrate 101] [--seed 202]

Prints one table: devtrack's online detector, a plain CUSUM and a Bayesian online detector (Adams &
MacKay 2007). The thresholds of the last two are set to one false alarm per 1000 snapshots on
generated quiet runs of seed ``--calibrate``, on which devtrack's own constant was set too; the
false alarms are then counted on quiet runs of seed ``--seed`` and on the quiet runs of the labelled
benchmark (generated ones and real trainings apart), detection and delay on the benchmark, by its
own scorer.

The generator and the scorer lie beside the checkout, in ``../shared/transitions``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from multiprocessing import Pool
from typing import Any

import pandas as pd

from devtrack.changepoints import RecipeEvent, Series
from devtrack.changepoints.online import OnlineDetector
from experiments.bench.online_rivals import bayesian, cusum, snapshots
from experiments.bench.transitions import QUIET_FAMILIES, SHARED, Run, _module, read_runs

PER_1000 = 1.0
COLUMNS = ["run", "step", "start", "end", "score", "alarm_step"]

Detector = Callable[[Run, float], list[int]]


def devtrack(run: Run, per_1000: float) -> list[int]:
    """Return the steps of devtrack's alarms."""
    detector, events, alarms = OnlineDetector(false_alarms_per_1000=per_1000), list(run[1]), []
    for step, values, rate in snapshots(run):
        while events and events[0].step <= step:
            detector.note(events.pop(0))
        if detector.update(step, values, rate=rate) is not None:
            alarms.append(step)
    return alarms


def quiet_runs(count: int, seed: int) -> list[Run]:
    """Generate runs without a transition, with the recipe's marks in a third of them."""
    generator, weight = _module("generate"), sum(QUIET_FAMILIES.values())
    runs: list[Run] = []
    for family, share in QUIET_FAMILIES.items():
        for index in range(count * share // weight):
            made = generator.make_run(family, index, "public", seed)
            series = [Series(m, c, made.steps, y, se) for (m, c), (y, se) in made.series.items()]
            runs.append((series, [RecipeEvent(float(s), kind) for s, kind in sorted(made.events)]))
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


def figures(detector: Detector, threshold: float, fresh: list[Run], pool: Any) -> dict[str, Any]:
    """Return one line of the table."""
    scorer = _module("score")
    bench, runs = scorer.Benchmark(SHARED), read_runs(SHARED)
    runs = {name: (series, sorted(events)) for name, (series, events) in runs.items()}
    found = pool.starmap(detector, [(run, threshold) for run in runs.values()], chunksize=1)
    alarms = dict(zip(runs, found, strict=True))
    rows = [
        dict(run=run, step=a, start=a, end=a, score=1.0, alarm_step=a)
        for run, steps in alarms.items()
        for a in steps
    ]
    scored = scorer.online(pd.DataFrame(rows, columns=COLUMNS), bench, 0.05)
    quiet = [run for run in bench.runs.index if bench.is_negative(run)]

    def rate(source: str) -> float:
        names = [run for run in quiet if bench.runs.source[run] == source]
        length = sum(len(bench.grid[run]) for run in names)
        return 1000 * sum(len(alarms[run]) for run in names) / max(length, 1)

    return {
        "threshold": threshold,
        "false/1000, fresh seed": false_alarms(detector, threshold, fresh, pool),
        "false/1000, benchmark": scored["false_alarms_per_1000_negative_snapshots"],
        "of these synthetic": rate("synthetic"),
        "real": rate("real"),
        "detected": scored["detected"],
        "delay from onset, median": scored["median_delay_snapshots_from_start"],
        "90 %": scored["p90_delay_snapshots_from_start"],
        "from midpoint, median": scored["median_delay_snapshots_from_mid"],
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Score online detectors on labelled runs.")
    parser.add_argument("--quiet", type=int, default=60, help="quiet runs per seed")
    parser.add_argument("--calibrate", type=int, default=101, help="seed to set thresholds on")
    parser.add_argument("--seed", type=int, default=202, help="seed to count false alarms on")
    parser.add_argument("--processes", type=int, default=2)
    chosen = parser.parse_args()
    known = quiet_runs(chosen.quiet, chosen.calibrate)
    fresh = quiet_runs(chosen.quiet, chosen.seed)
    with Pool(chosen.processes) as pool:
        lines = {
            "devtrack": figures(devtrack, PER_1000, fresh, pool),
            "CUSUM": figures(
                cusum, calibrate(cusum, known, pool, low=1.0, high=400.0), fresh, pool
            ),
            "Bayesian online": figures(
                bayesian, calibrate(bayesian, known, pool, low=-5.0, high=60.0), fresh, pool
            ),
        }
    with pd.option_context("display.width", 200, "display.precision", 3):
        print(pd.DataFrame(lines).to_string())


if __name__ == "__main__":
    main()
