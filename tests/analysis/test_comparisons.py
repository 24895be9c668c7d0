"""Studies over several runs: planted leads come out, and the SQL tells the same story."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from analysis.command import run_comparison
from analysis.lead_time import __doc__ as LEAD_QUESTION
from analysis.lead_time import _options, lead_time
from analysis.seed_variation import seed_variation
from devtrack.records import Row, RunInfo, TrainingProgress
from devtrack.store import open_store
from devtrack.transitions.detection import STANDARD
from devtrack.transitions.lead_time import largest_changes
from devtrack.transitions.recurrence import load_occurrences

ROOT = Path(__file__).parents[2]
STEPS = np.unique(np.geomspace(1, 10_000, 20).round().astype(int)).tolist()
RUNS = [f"seed-{number}" for number in range(6)]


def change(number, metric, decades, effect, *, event=None):
    step = 10**decades - 1
    return {
        **{"transition": number, "kind": "step", "metric": metric, "site": "model"},
        **{"direction": "up", "effect": effect, "midpoint": step, "metric_midpoint": step},
        **{"onset": step / 2, "end_step": step * 2, "event": event, "interval_level": 0.9},
        **{"metric_midpoint_low": step * 0.9, "metric_midpoint_high": step * 1.1},
    }


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Six runs: attention comes .5 decades before the accuracy, whose small change is early."""
    opened = open_store(tmp_path_factory.mktemp("seeds") / "runs", create=True)
    rng = np.random.default_rng(0)
    for number, run_id in enumerate(RUNS):
        with opened.writer(RunInfo(run_id, "seed", datetime(2026, 1, 1, number))) as writer:
            for step in STEPS:
                writer.append(TrainingProgress(step), [Row("accuracy", 0.0, 0.1)])
        at = 3 + 0.2 * rng.standard_normal()
        rows = [
            change(0, "accuracy", 1.0, 0.1),
            change(1, "attention", at - 0.5 + 0.02 * rng.standard_normal(), 0.4),
            change(2, "accuracy", at, 0.7),
            change(3, "accuracy", 3.9, 9.9, event="lr_change"),
        ]
        opened.write_transitions(run_id, rows, settings=STANDARD)
    return opened


def run(study, store, tmp_path, *arguments, **options):
    given = ["--store", str(store.path), "--out", str(tmp_path / "out"), *arguments]
    return run_comparison(study, question=LEAD_QUESTION or "", arguments=given, **options)


def test_seed_variation_prints_shares_and_spreads(store, tmp_path, capsys):
    assert run(seed_variation, store, tmp_path) == 0
    out = capsys.readouterr().out
    assert (ROOT / "analysis" / "seed_variation.sql").read_text("utf-8") in out
    table = out[out.index("share [95 %]") :].splitlines()[1:4]
    assert [line.split()[:4] for line in table] == [
        ["step", "up", "accuracy", "6/6"],
        ["step", "up", "attention", "6/6"],
        ["step", "up", "accuracy", "6/6"],
    ]
    assert "1.00 [0.54, 1.00]" in table[0]
    assert (tmp_path / "out" / "seed_variation.png").read_bytes().startswith(b"\x89PNG")


def test_lead_time_prints_the_planted_lead(store, tmp_path, capsys):
    assert run(lead_time, store, tmp_path, "--target", "accuracy", options=_options) == 0
    out = capsys.readouterr().out
    assert (ROOT / "analysis" / "lead_time.sql").read_text("utf-8") in out
    (line,) = [line for line in out.splitlines() if line.startswith("step up attention")]
    assert line.split()[3] == "6/6"
    assert float(line.split()[4]) == pytest.approx(0.5, abs=0.05)
    assert "no p below 0.031" in out
    assert (tmp_path / "out" / "lead_time.png").read_bytes().startswith(b"\x89PNG")


def test_too_few_runs_say_so(store, tmp_path, capsys):
    arguments = ("--target", "accuracy", "--runs", *RUNS[:5])
    assert run(lead_time, store, tmp_path, *arguments, options=_options) == 0
    assert "no p below 0.062 before correction (5 runs: .06)" in capsys.readouterr().out
    arguments = ("--target", "accuracy", "--runs", RUNS[0])
    assert run(lead_time, store, tmp_path, *arguments, options=_options) == 3
    assert "a lead needs several runs" in capsys.readouterr().err


def test_sql_and_python_choose_the_same_change(store):
    sql = (ROOT / "analysis" / "lead_time.sql").read_text("utf-8")
    chosen = {"runs": RUNS, "target": "accuracy", "site": None, "direction": None}
    table = store.sql(sql, chosen)
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.fetchall()]
    goal = largest_changes(load_occurrences(store, RUNS), "accuracy")
    assert {row["run_id"]: row["mid"] for row in rows} == {
        run_id: round(one.move.midpoint) for run_id, one in goal.items()
    }
    assert {row["series_before"] for row in rows} == {1}
    assert json.dumps([row["effect"] for row in rows]) == json.dumps([0.7] * 6)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--target", "acc"], "target='acc'"),
        (["--target", "accuracy", "--runs", "sed-*"], "runs 'sed-*': matches none of the 6 runs"),
    ],
)
def test_bad_input_is_one_line(store, tmp_path, capsys, arguments, part):
    assert run(lead_time, store, tmp_path, *arguments, options=_options) == 1
    err = capsys.readouterr().err
    assert part in err
    assert err.count("\n") == 1
