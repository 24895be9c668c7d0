import json
from datetime import datetime

import pytest
import torch
from typer.testing import CliRunner

from devtrack.cli import app
from devtrack.model_state import snapshots
from devtrack.records import RunInfo, TrainingProgress
from devtrack.store import open_store

PROBLEM = """
import torch
from torch import nn

class Bowl(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.ones(10, dtype=torch.float64))

def build():
    return Bowl(), loss, batches

def loss(model, _):
    return 0.5 * model.w.square().sum()

batches = [torch.zeros(2)]

def alone():
    return Bowl()

def disordered():
    return batches, Bowl(), loss

def empty():
    return Bowl(), loss, []

def loader():
    return Bowl(), loss, torch.utils.data.DataLoader(batches)

def number():
    return Bowl(), lambda model, _: loss(model, _).item(), batches

def swapped():
    return Bowl(), lambda _, model: loss(model, _), batches
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("calibrate")
    (path / "problem.py").write_text(PROBLEM)
    writer = open_store(path / "runs", create=True).writer(
        RunInfo("bowl-1", "bowl", datetime(2026, 11, 21))
    )
    weights = {"w": torch.zeros(10, dtype=torch.float64)}
    writer.append(TrainingProgress(5), [snapshots.write(writer.run_dir, weights)])
    writer.close()
    writer = open_store(path / "runs").writer(RunInfo("begun-1", "begun", datetime(2026, 11, 20)))
    start = {"w": torch.ones(10, dtype=torch.float64)}
    for step, at in ((0, start), (5, weights)):
        writer.append(TrainingProgress(step), [snapshots.write(writer.run_dir, at)])
    writer.close()
    open_store(path / "runs").writer(RunInfo("bare-1", "bare", datetime(2026, 11, 20))).close()
    return path


def _invoke(folder, *arguments, problem="problem.py:build"):
    where = ["--store", str(folder / "runs"), "--out", str(folder / "picture.png")]
    spec = str(folder / problem)
    return CliRunner().invoke(app, ["calibrate", spec, *where, *arguments])


def test_it_prints_settings_to_paste_and_draws_the_picture(folder):
    answer = _invoke(folder, "bowl", "--n-beta", "100", "--localization", "1")
    assert answer.exit_code == 0, answer.output
    assert answer.stdout.startswith("LLC(method='lm_sgld', n_beta=100.0, localization=1.0, lr=")
    assert "passes every check, and half of it agrees" in answer.stderr
    assert (folder / "picture.png").stat().st_size > 10_000
    from devtrack.metrics.llc import LLC

    assert eval(answer.stdout, {"LLC": LLC}).n_beta == 100.0  # as a user pastes it


def test_what_training_has_gained_is_counted_from_the_snapshot_of_step_0(folder):
    narrow = ("--n-beta", "100", "--localization", "1")
    assert "training has gained 5: " in _invoke(folder, "begun", *narrow).stderr
    # w = 0 is the minimum: without a start, nothing tells what was gained
    assert "whose weights are all zero" in _invoke(folder, "bowl", *narrow).stderr


def test_json_holds_every_setting(folder):
    narrow = ("--n-beta", "100", "--localization", "1", "--json")
    answer = _invoke(folder, "bowl", *narrow)
    assert json.loads(answer.stdout)[0]["localization"] == 1.0


@pytest.mark.parametrize(
    ("problem", "arguments", "message"),
    [
        ("nothing.py:build", ["bowl"], "must be FILE.py:FUNCTION with a file that exists"),
        ("problem.py:make", ["bowl"], "has no function 'make'"),
        ("problem.py:build", ["bare"], "run bare-1 has no snapshot"),
        ("problem.py:alone", ["bowl"], "returned Bowl: must return (model, loss, batches"),
        ("problem.py:disordered", ["bowl"], "returned (list, Bowl, function): must"),
        ("problem.py:empty", ["bowl"], "a list of at least one batch"),
        ("problem.py:loader", ["bowl"], "returned (Bowl, function, DataLoader): must"),
        ("problem.py:number", ["bowl"], "the loss returned 5.0: loss must return a ten"),
        ("problem.py:swapped", ["bowl"], "loss must return a tensor, as a function of"),
        ("problem.py:build", ["bowl", "--n-beta", "0"], "n_beta=0.0: must be a finite"),
    ],
    ids=str,
)
def test_what_cannot_work_is_one_line(folder, problem, arguments, message):
    answer = _invoke(folder, *arguments, problem=problem)
    assert answer.exit_code == 1
    assert message in answer.stderr
