"""A small store with two runs, and the command line to ask it."""

from __future__ import annotations

import shutil
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from devtrack.cli import app
from devtrack.records import Event, Row, RunInfo, Status, TrainingProgress
from devtrack.store import open_store

STEPS = [0, *np.unique(np.geomspace(1, 2000, 40).round().astype(int)).tolist()]
QUIET, GROKKING = "quiet-20261121-093000-aaaa", "grokking-20261121-094000-bbbb"
TRANSITION = {
    "transition": 0,
    "kind": "step",
    "onset": 150.0,
    "midpoint": 300.0,
    "end_step": 600.0,
    "midpoint_low": 260.0,
    "midpoint_high": 340.0,
    "interval_level": 0.95,
    "metric": "llc",
    "site": "model",
    "direction": "down",
    "effect": -60.0,
    "effect_se": 3.0,
    "alpha": 0.05,
}


def fill(path: Path) -> None:
    rng = np.random.default_rng(0)
    store = open_store(path, create=True)
    for minute, run_id in ((30, QUIET), (40, GROKKING)):
        name = run_id.split("-")[0]
        writer = store.writer(RunInfo(run_id, name, datetime(2026, 11, 21, 9, minute)))
        for step in STEPS:
            risen = (
                1 / (1 + np.exp(-(np.log10(step + 1) - 2.5) / 0.08)) if name == "grokking" else 0
            )
            rows = [
                Row("llc", 80 - 60 * risen + rng.normal(), 1.0, attrs={"rhat": 1.01}),
                Row("loss", 4 - 3.9 * risen + 0.02 * rng.normal(), 0.02),
                Row("weight_norm", 10.0 + 0.01 * rng.normal(), site="embed"),
            ]
            if step == 7:
                rows[0] = Row("llc", float("nan"), status=Status.FAILED, attrs={"error": "boom"})
            writer.append(TrainingProgress(step), rows)
        writer.append(TrainingProgress(5), [Event("lr_change", "learning rate 0.1 -> 0.01")])
        writer.close()


@pytest.fixture(scope="module", autouse=True)
def _detects_once(detects_once) -> None:
    """The same two runs are looked at again and again."""


@pytest.fixture(scope="session")
def pristine(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("cli") / "runs"
    fill(path)
    return path


@pytest.fixture
def store(pristine, tmp_path) -> Path:
    """Return a private copy of the store."""
    path = Path(shutil.copytree(pristine, tmp_path / "runs"))
    open_store(path)  # a moved store renews its views file
    return path


@pytest.fixture
def analysed(store) -> Path:
    """Return a private copy of the store with an analysis of the run ``grokking``."""
    open_store(store).write_transitions(GROKKING, [TRANSITION])
    return store


@pytest.fixture
def devtrack(monkeypatch, tmp_path):
    """Return the command line as a function: arguments in, (exit_code, stdout, stderr) out."""
    monkeypatch.delenv("DEVTRACK_STORE", raising=False)
    monkeypatch.chdir(tmp_path)

    def call(*arguments, stdin=None):
        result = CliRunner().invoke(app, [str(one) for one in arguments], input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.stdout, result.stderr

    return call
