"""What another value of a constant of the detector does, on generated runs with labels.

    python -m experiments.bench.detector_config selection.step_penalty 9 11 13 [--seeds 201 202 203]
        [--every N]

A field of ``DetectorConfig`` is named by its group and its own name. The table has one column per
value, the present one among them, on the same runs: the generator of ``generated_runs.py`` draws a
set per seed. Fields that say what a transition is (``templates.max_width``) move away from the
labels, so that the table says nothing about them. ``--every`` takes every Nth run of a set.

Results: ``experiments/bench/results/detector_config.md``.
"""

from __future__ import annotations

import argparse
import ast
import tempfile
from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from devtrack.changepoints import DetectorConfig
from devtrack.errors import ConfigError
from experiments.bench.generated_runs import draw_runs, write_runs
from experiments.bench.labelled_runs import Benchmark, read_benchmark, read_runs
from experiments.bench.online_rivals import Run
from experiments.bench.transitions import COLUMNS, devtrack_detector, interval_coverage
from experiments.bench.transitions_score import score

Set = tuple[Benchmark, dict[str, Run]]


def with_value(config: DetectorConfig, name: str, value: object) -> DetectorConfig:
    """Return a configuration with another value of one field.

    Args:
        config: Stays as it is.
        name: ``group.field``, or ``seed``.
        value: Of the field's type.

    Raises:
        ConfigError: There is no such field.
    """
    group, _, field = name.rpartition(".")
    owner = _owner(config, group)
    if field not in _names(owner):
        raise ConfigError(
            f"{name!r}: is no field of DetectorConfig. Groups: "
            f"{', '.join(_names(config))}. Write for example "
            "selection.step_penalty."
        )
    changed: Any = replace(owner, **{field: value})
    return replace(config, **{group: changed}) if group else changed


def _owner(config: DetectorConfig, group: str) -> Any:
    return getattr(config, group, None) if group else config


def _names(owner: Any) -> list[str]:
    return [field.name for field in fields(owner)] if is_dataclass(owner) else []


def figures(sets: Sequence[Set], config: DetectorConfig) -> dict[str, float]:
    """Return the mean figures of the detector over sets of labelled runs."""
    tables = []
    for benchmark, runs in sets:
        rows = [
            {"run": name, **found}
            for name, run in runs.items()
            for found in devtrack_detector(run, config=config)
        ]
        predicted = pd.DataFrame(rows, columns=[*COLUMNS, "low", "high"])
        found = score(predicted, benchmark)
        tables.append(
            {
                "F1": found.f1,
                "recall snr>10": found.recall_by_snr["snr>10"],
                "alarms/quiet run": found.alarms_per_quiet_run["all"],
                "nuisances": float(found.nuisances),
                "count exact": found.count_exact,
                "error median": found.error_median,
                "error 90 %": found.error_90,
                "interval covers": interval_coverage(predicted, benchmark),
            }
        )
    return pd.DataFrame(tables).mean().to_dict()


def draw_sets(seeds: Sequence[int], *, every: int = 1) -> list[Set]:
    """Return a set of labelled runs per seed."""
    sets: list[Set] = []
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            write_runs(Path(folder), draw_runs(seed)[::every])
            sets.append((read_benchmark(Path(folder)), read_runs(Path(folder))))
    return sets


def sweep(name: str, values: Sequence[object], sets: Sequence[Set]) -> pd.DataFrame:
    """Return the figures, (figure, value); the column of the present value says so."""
    base = DetectorConfig()
    present: Any = base
    for part in name.split("."):
        present = getattr(present, part, None)
    table = {}
    for value in values:
        config = with_value(base, name, value)
        table[f"{value} (present)" if value == present else str(value)] = figures(sets, config)
    return pd.DataFrame(table)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Score other constants of the detector.")
    parser.add_argument("name", help="for example selection.step_penalty")
    parser.add_argument("values", nargs="+", type=ast.literal_eval, help="Python literals")
    parser.add_argument("--seeds", nargs="+", type=int, default=[201, 202, 203])
    parser.add_argument("--every", type=int, default=1, help="take every Nth run of a set")
    chosen = parser.parse_args()
    for value in chosen.values:  # a wrong name costs a second, not an hour
        with_value(DetectorConfig(), chosen.name, value)
    sets = draw_sets(chosen.seeds, every=chosen.every)
    print(f"{chosen.name}, seeds {', '.join(map(str, chosen.seeds))}, every {chosen.every}")
    with pd.option_context("display.width", 200, "display.precision", 4):
        print(sweep(chosen.name, chosen.values, sets).to_string())


if __name__ == "__main__":
    main()
