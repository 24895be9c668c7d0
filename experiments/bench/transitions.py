"""Score the detector, and what is used elsewhere, on the labelled benchmark.

    python -m experiments.bench.transitions [--data FOLDER] [--seed N] [--other]
        [--quiet N] [--trainings N]

Prints one table: the detector of devtrack, and those of ``rivals.py``. The figures stand in
``results/transitions.md``.

* The option ``--data`` is a folder of labelled runs, by default ``tests/data/transitions``.
* The option ``--seed`` draws fresh synthetic runs instead.
* With ``--other`` their shapes, trends and noise are not the benchmark's own.
* With ``--quiet``, runs without any transition are drawn. The table is the share of them in which
  devtrack raises an alarm, by nominal rate. Constants of the detector were measured in this way.
* With ``--trainings``, these runs are real trainings, of ``quiet_trainings.py``.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from devtrack.changepoints import DetectorConfig, detect
from devtrack.series import ConfigEvent, Series
from experiments.bench.generated_curves import OTHER, OWN, Ranges
from experiments.bench.generated_runs import draw_run, draw_runs, write_runs
from experiments.bench.labelled_runs import DATA, Benchmark, read_benchmark, read_runs
from experiments.bench.online_rivals import Run
from experiments.bench.quiet_trainings import MOMENTUM, quiet_trainings
from experiments.bench.rivals import RIVALS, Detector
from experiments.bench.transitions_score import match, score

COLUMNS = ["run", "step", "start", "end", "score", "metrics"]
RATES = (0.01, 0.05, 0.1)
QUIET_FAMILIES = dict(smooth=3, nuisance=2, flat=1)


def devtrack_detector(
    run: Run, *, alpha: float = 0.05, config: DetectorConfig | None = None
) -> Iterable[dict[str, Any]]:
    """Yield devtrack's transitions."""
    for found in detect(run[0], events=run[1], alpha=alpha, config=config):
        if found.event is None:
            yield {
                "step": found.midpoint,
                "start": found.onset,
                "end": found.end,
                "low": found.midpoint_low,
                "high": found.midpoint_high,
                "score": -np.log10(max(found.evidence, 1e-300)),
                "metrics": "|".join(sorted({move.metric for move in found.moves})),
            }


DETECTORS: dict[str, Detector] = {"devtrack": devtrack_detector, **RIVALS}


def score_table(data: Path) -> pd.DataFrame:
    """Return one row of figures per detector."""
    runs, benchmark = read_runs(data), read_benchmark(data)
    table = []
    for name, detector in DETECTORS.items():
        seconds, rows = [], []
        for run, content in runs.items():
            start = time.perf_counter()
            rows += [{"run": run, **found} for found in detector(content)]
            seconds.append(time.perf_counter() - start)
        predicted = pd.DataFrame(rows, columns=[*COLUMNS, "low", "high"])
        found = score(predicted, benchmark)
        table.append(
            {
                "detector": name,
                "F1": found.f1,
                "recall snr>10": found.recall_by_snr["snr>10"],
                "alarms/quiet, synthetic": found.alarms_per_quiet_run["synthetic"],
                "real": found.alarms_per_quiet_run["real"],
                "nuisances": found.nuisances,
                "count exact": found.count_exact,
                "error median": found.error_median,
                "90 %": found.error_90,
                "90 % interval covers": interval_coverage(predicted, benchmark),
                "Jaccard": found.jaccard,
                "s/run": float(np.median(seconds)),
            }
        )
    return pd.DataFrame(table).set_index("detector")


def interval_coverage(predicted: pd.DataFrame, benchmark: Benchmark) -> float:
    """Return the share of matched transitions whose interval holds the labelled midpoint."""
    covered: list[bool] = []
    for name, rows in predicted.groupby("run"):
        run = str(name)
        _, _, labels = match(rows["step"].to_numpy(float), benchmark, run)
        low, high = (
            benchmark.position(run, rows[edge].to_numpy(float)) for edge in ("low", "high")
        )
        for a, b, label in zip(low, high, labels, strict=True):
            if label is not None:
                covered.append(bool(a <= label.midpoint <= b))
    return (
        float(np.mean(covered))
        if covered and np.isfinite(predicted["low"].to_numpy(float)).any()
        else float("nan")
    )


def quiet_rates(count: int, seed: int, ranges: Ranges) -> pd.Series:
    """Return the share of quiet runs with an alarm, by nominal rate."""
    share = {k: -(-count * n // sum(QUIET_FAMILIES.values())) for k, n in QUIET_FAMILIES.items()}
    alarms = []
    for family, size in share.items():
        for index in range(size):
            made = draw_run(family, index, seed, ranges=ranges)
            series = [Series(m, c, made.steps, y, se) for (m, c), (y, se) in made.series.items()]
            run = (series, [ConfigEvent(float(step), kind) for step, kind in made.events])
            alarms.append(_alarms(run))
    return pd.DataFrame(alarms).mean()


def training_rates(count: int, seed: int) -> pd.DataFrame:
    """Return the share of real quiet trainings with an alarm, by nominal rate and optimizer.

    Those with momentum are judged twice: as the tracker records them, and without its event. All
    are trained twice: from zero weights, and from such as networks are given ("drawn").
    """
    alarms: dict[str, list[dict[float, bool]]] = {}
    start = ConfigEvent(0.0, "optimizer_start", MOMENTUM)
    for optimizer, series in quiet_trainings(count, seed):
        known = {optimizer: [start] if optimizer == "momentum" else []}
        if optimizer == "momentum":
            known["momentum, not recorded"] = []
        for name, events in known.items():
            alarms.setdefault(name, []).append(_alarms((series, events)))
    for optimizer, series in quiet_trainings(count, seed, drawn=True):
        events = [start] if optimizer == "momentum" else []
        alarms.setdefault(f"{optimizer}, drawn", []).append(_alarms((series, events)))
    return pd.DataFrame({name: pd.DataFrame(of).mean() for name, of in alarms.items()})


def main() -> None:
    """Print the table, or the rates."""
    parser = argparse.ArgumentParser(description="Score transition detectors on labelled runs.")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of labelled runs")
    parser.add_argument("--seed", type=int, help="fresh synthetic runs instead of --data")
    parser.add_argument("--quiet", type=int, help="alarms in this many runs without a transition")
    parser.add_argument("--trainings", type=int, help="alarms in this many real quiet trainings")
    parser.add_argument(
        "--other", action="store_true", help="of shapes, trends and noise that are not its own"
    )
    chosen = parser.parse_args()
    if chosen.other and (chosen.seed is None or chosen.trainings):
        parser.error("--other changes runs that are drawn: give a --seed, and no --trainings")
    ranges = OTHER if chosen.other else OWN
    with pd.option_context("display.width", 200, "display.precision", 4):
        if chosen.quiet:
            print(quiet_rates(chosen.quiet, chosen.seed or 1, ranges).to_string())
        elif chosen.trainings:
            print(training_rates(chosen.trainings, chosen.seed or 1).to_string())
        elif chosen.seed is None:
            print(score_table(chosen.data).T.to_string())
        else:
            with tempfile.TemporaryDirectory() as folder:
                write_runs(Path(folder), draw_runs(chosen.seed, ranges=ranges))
                print(score_table(Path(folder)).T.to_string())


def _alarms(run: Run) -> dict[float, bool]:
    """Say whether a run raises an alarm, by nominal rate: what is noise depends on it."""
    return {alpha: any(True for _ in devtrack_detector(run, alpha=alpha)) for alpha in RATES}


if __name__ == "__main__":
    main()
