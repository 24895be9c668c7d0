"""How good is the detector? The labelled benchmark, next to what is used elsewhere.

    python -m experiments.bench.transitions [--data ../shared/transitions] [--seed N] [--other]
        [--quiet N] [--trainings N]

Prints one table: devtrack's detector, and those of ``rivals.py``. ``--seed`` draws fresh synthetic
runs with the benchmark's own generator instead of reading its public part; ``--other`` has it draw
shapes, trends and noise that are not its own (``other_shapes.py``). ``--quiet`` draws that many
runs without any transition and prints the share in which devtrack raises an alarm at several
nominal rates: the measurement behind the constants of ``devtrack/changepoints/chance.py``.

Measured on 2026-11-23 at a nominal 5 %; "unseen" is devtrack's mean over six sets that nothing was
chosen on, ``--seed`` 227 to 229 and, with ``--other``, 319 to 321 (F1 .923 to .945):

                         F1  recall  alarms/quiet run  nuis-  count  location error    inter-  Jac-
                             snr>10  synthetic  real  ances  exact  median   90 %   val covers card
    asked              >= .93   .97     .05     .05      0     .87   .003   .015   .85-.95   .93
    devtrack            .937   .989       0       0      0    .897   .0019  .0108     .952   .949
    unseen              .939   .973    .027               1/6  .911   .0022  .0111     .937   .953
    piecewise linear    .620   .811    .438    .667     11    .522   .0066  .0278            .897
    GP slope peaks      .540   .622    .583   1.667     14    .456   .0030  .0191            .766
    ruptures, best      .540   .556    .854   1.083      6    .434   .0051  .0310            .926
    ruptures, defaults  .529   .633   1.146   1.750      7    .338   .0148  .0356            .933
    Bayesian online     .342   .367    .604    .500     12    .463   .0119  .0496            .920
    GP critical points  .222   .444    .979   1.750     11    .294   .0272  .0586            .759

Those six sets have one nuisance that is told as a transition, a learning rate's drop. Quiet runs
with an alarm (2026-11-22, the same detector), by nominal rate (1, 5 and 10 %): 1.3, 2.7 and 5.3 %
of 300 generated ones (``--quiet 300 --seed 12``). At 5 %, of 180 real trainings (``--trainings 180
--seed 5``), 2 from zero weights, and 8 to 17 % from drawn ones, by optimizer: an accuracy's first
rise from chance is told.

The generator and the scorer lie beside the checkout, in ``../shared/transitions``.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd

from devtrack.changepoints.offline.detector import detect
from devtrack.series import ConfigEvent, Series
from experiments.bench.online_rivals import Run
from experiments.bench.other_shapes import use_other_shapes
from experiments.bench.quiet_trainings import MOMENTUM, quiet_trainings
from experiments.bench.rivals import RIVALS, Detector

SHARED = Path(__file__).resolve().parents[3] / "shared" / "transitions"
COLUMNS = ["run", "step", "start", "end", "score", "metrics"]
RATES = (0.01, 0.05, 0.1)
QUIET_FAMILIES = dict(smooth=3, nuisance=2, flat=1)


def devtrack_detector(run: Run, *, alpha: float = 0.05) -> Iterable[dict[str, Any]]:
    """Yield devtrack's transitions."""
    for found in detect(run[0], events=run[1], alpha=alpha):
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


def read_runs(data: Path) -> dict[str, Run]:
    """Return the runs of a benchmark directory."""
    metrics, events = pd.read_csv(data / "metrics.csv"), pd.read_csv(data / "events.csv")
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


def score_table(data: Path, scorer: ModuleType) -> pd.DataFrame:
    """Return one row of figures per detector."""
    runs, bench = read_runs(data), scorer.Benchmark(data)
    real = bench.runs.source == "real"
    table = []
    for name, detector in DETECTORS.items():
        seconds, rows = [], []
        for run, content in runs.items():
            start = time.perf_counter()
            rows += [{"run": run, **found} for found in detector(content)]
            seconds.append(time.perf_counter() - start)
        predicted = pd.DataFrame(rows, columns=[*COLUMNS, "low", "high"])
        found = scorer.score(predicted, bench, sweep=False, n_boot=1)
        _, per_run = scorer.evaluate(predicted, bench)
        quiet = per_run[per_run.negative].set_index("run")
        table.append(
            {
                "detector": name,
                "F1": found["f1"],
                "recall snr>10": found["recall_by_snr"]["snr>10"],
                "alarms/quiet, synthetic": quiet[~real[quiet.index]].fp.mean(),
                "real": quiet[real[quiet.index]].fp.mean(),
                "nuisances": found["fp_nuisance"],
                "count exact": found["count_exact"],
                "error median": found["location_error_median"],
                "90 %": found["location_error_p90"],
                "90 % interval covers": interval_coverage(predicted, bench, scorer),
                "Jaccard": found["metrics_jaccard"],
                "s/run": float(np.median(seconds)),
            }
        )
    return pd.DataFrame(table).set_index("detector")


def interval_coverage(predicted: pd.DataFrame, bench: Any, scorer: Any) -> float:
    """Return the share of matched transitions whose interval holds the labelled midpoint."""
    covered: list[bool] = []
    for run, rows in predicted.groupby("run"):
        _, verdict, target = scorer.match_run(rows, bench, run, 0.05)
        labels = bench.required(run)
        places = zip(*(bench.position(run, rows[name].to_numpy()) for name in ("low", "high")))
        for (low, high), kind, label in zip(places, verdict, target, strict=True):
            if kind == "tp":
                covered.append(bool(low <= labels[label]["mid"] <= high))
    return float(np.mean(covered)) if covered and predicted.low.notna().any() else float("nan")


def quiet_rates(count: int, seed: int, generator: ModuleType) -> pd.Series:
    """Return the share of quiet runs with an alarm, by nominal rate."""
    share = {k: -(-count * n // sum(QUIET_FAMILIES.values())) for k, n in QUIET_FAMILIES.items()}
    alarms = []
    for family, size in share.items():
        for index in range(size):
            made = generator.make_run(family, index, "public", seed)
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
    parser.add_argument("--data", type=Path, default=SHARED)
    parser.add_argument("--seed", type=int, help="fresh synthetic runs instead of --data")
    parser.add_argument("--quiet", type=int, help="alarms in this many runs without a transition")
    parser.add_argument("--trainings", type=int, help="alarms in this many real quiet trainings")
    parser.add_argument(
        "--other", action="store_true", help="of shapes, trends and noise that are not its own"
    )
    chosen = parser.parse_args()
    if chosen.other and (chosen.seed is None or chosen.trainings):
        parser.error("--other changes runs that are drawn: give a --seed, and no --trainings")
    generator, scorer = _module("generate"), _module("score")
    with pd.option_context("display.width", 200, "display.precision", 4):
        if chosen.other:
            use_other_shapes(generator)
        if chosen.quiet:
            print(quiet_rates(chosen.quiet, chosen.seed or 1, generator).to_string())
        elif chosen.trainings:
            print(training_rates(chosen.trainings, chosen.seed or 1).to_string())
        elif chosen.seed is None:
            print(score_table(chosen.data, scorer).T.to_string())
        else:
            with tempfile.TemporaryDirectory() as folder:
                made = generator.make_split("public", chosen.seed)
                generator.write(folder, *generator.tables(made))
                print(score_table(Path(folder), scorer).T.to_string())


def _alarms(run: Run) -> dict[float, bool]:
    """Say whether a run raises an alarm, by nominal rate: what is noise depends on it."""
    return {alpha: any(True for _ in devtrack_detector(run, alpha=alpha)) for alpha in RATES}


def _module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, SHARED / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main()
