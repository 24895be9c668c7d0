"""The studies answer from a store, show their SQL, and leave a picture."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from devtrack.plots._stages import stages
from devtrack.records import Row, RunInfo, Status, TrainingProgress
from devtrack.store import open_store
from devtrack.store.readers import read_transitions

ROOT = Path(__file__).parents[2]
STEPS = [0, *np.unique(np.geomspace(1, 2000, 45).round().astype(int)).tolist()]


def sql(name):
    return (ROOT / "analysis" / f"{name}.sql").read_text("utf-8")


@pytest.fixture
def store(tmp_path):
    opened = open_store(tmp_path / "runs", create=True)
    writer = opened.writer(RunInfo("g-1", "grokking", datetime(2026, 11, 21)))
    rng = np.random.default_rng(0)
    for step in STEPS:
        risen = 1 / (1 + np.exp(-(np.log10(step + 1) - 2.4) / 0.07))
        status = Status.SUSPECT if step == STEPS[-1] else Status.OK
        writer.append(
            TrainingProgress(step),
            [
                Row("llc", 20 + 60 * risen + rng.normal(), 1.0, status=status),
                Row("loss", 4 - 3 * risen + 0.02 * rng.normal(), 0.02),
            ],
        )
    writer.close()
    return opened


def test_stages_in_sql_are_the_stages_of_the_picture(store):
    rows = [
        {"transition": number, "onset": onset, "end_step": end, "event": event}
        for number, (onset, end, event) in enumerate(
            [
                (10.0, 70.0, None),
                (20.0, 30.0, None),
                (100.0, 120.0, "lr_change"),
                (500.0, 900.0, None),
            ]
        )
    ]
    store.write_transitions("g-1", [{**row, "metric": "llc", "site": "model"} for row in rows])
    drawn = stages(read_transitions(store, "g-1"), first=0.0, last=2000.0)
    lines = store.sql(sql("emergence_timeline"), {"run_id": "g-1"}).fetchall()
    loss = [line for line in lines if line[1] == "loss"]
    assert [line[0] for line in loss] == [1, 2, 3] == [stage.number for stage in drawn]
    for line, stage in zip(loss, drawn, strict=True):
        inside = [step for step in STEPS if stage.start <= step <= stage.end]
        assert (line[3], line[4], line[5]) == (len(inside), inside[0], inside[-1])
    assert [line[5] for line in lines if line[1] == "llc"][-1] == STEPS[-2], "suspect: not counted"


def test_a_run_without_transitions_is_one_stage(store):
    store.write_transitions("g-1", [])
    lines = store.sql(sql("emergence_timeline"), {"run_id": "g-1"}).fetchall()
    assert {line[0] for line in lines} == {1}


def test_steps_behind_count_from_the_first_series_of_the_transition(store):
    rows = [
        {"transition": 0, "metric": "loss", "site": "model", "metric_midpoint": 250.0},
        {"transition": 0, "metric": "llc", "site": "model", "metric_midpoint": 210.0},
        {"transition": 1, "metric": "llc", "site": "model", "metric_midpoint": 900.0},
    ]
    store.write_transitions("g-1", rows)
    table = store.sql(sql("phase_transitions"), {"run_id": "g-1"})
    found = [dict(zip(table.columns, line, strict=True)) for line in table.fetchall()]
    assert [(line["t"], line["metric"], line["steps_behind"]) for line in found] == [
        (0, "llc", 0),
        (0, "loss", 40),
        (1, "llc", 0),
    ]


@pytest.mark.parametrize("name", ["phase_transitions", "emergence_timeline"])
def test_a_study_prints_its_table_and_sql_and_writes_its_picture(store, tmp_path, name):
    out = tmp_path / "out"
    command = [sys.executable, "-W", "error", "-m", f"analysis.{name}"]
    done = subprocess.run(
        [*command, "--store", str(store.path), "--out", str(out)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert sql(name) in done.stdout
    assert "llc" in done.stdout
    assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_a_study_of_an_unknown_run_is_one_line(store, tmp_path):
    from analysis.command import run_study

    def study(*_):
        raise AssertionError

    assert run_study(study, question="Why?", arguments=["--store", str(tmp_path / "none")]) == 1
    assert (
        run_study(study, question="Why?", arguments=["--store", str(store.path), "--run", "x"]) == 1
    )
