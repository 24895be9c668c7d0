"""What somebody else stored does not steer the reader's terminal."""

from __future__ import annotations

import json
from datetime import datetime

import pytest
from typer.testing import CliRunner

from devtrack.cli import _output, app
from devtrack.records import Event, Row, RunInfo, TrainingProgress
from devtrack.store import open_store

STEERING = "\x1b[2J\x1b]0;title\x07\x9b31m\u202e\u2028\x7f\r"
NAME = f"evil{STEERING}name"


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    store = open_store(tmp_path_factory.mktemp("hostile") / "runs", create=True)
    with store.writer(RunInfo("r1", NAME, datetime(2026, 1, 1))) as writer:
        for step in range(20):
            rows = [Row(f"m{STEERING}", float(step), site=f"s{STEERING}")]
            writer.append(TrainingProgress(step), rows)
        writer.append(TrainingProgress(3), [Event(f"k{STEERING}", f"text{STEERING}")])
    return store.path


@pytest.mark.parametrize(
    "command",
    [
        ["runs"],
        ["runs", "--json"],
        ["sql", "FROM metrics"],
        ["sql", "FROM events", "--json"],
        ["sql", "SELECT [message], {'a': message} FROM events"],
        ["sql", f'SELECT 1 AS "{STEERING}"'],
        ["sql", f'SELECT "{STEERING}" FROM metrics'],
        ["watch", "--once"],
        ["transitions"],
        ["transitions", "--json"],
        ["transitions", f"x{STEERING}"],
        ["doctor"],
        ["export", "x.csv", "--table", STEERING],
    ],
)
@pytest.mark.parametrize("terminal", [False, True])
def test_no_command_prints_a_character_that_steers(
    hostile, monkeypatch, tmp_path, command, terminal
):
    monkeypatch.chdir(tmp_path)
    if terminal:
        monkeypatch.setattr(_output, "_is_terminal", lambda: True)
    result = CliRunner().invoke(app, [*command, "--store", str(hostile)])
    shown = result.stdout + result.stderr
    assert shown
    found = {letter for letter in shown if letter in STEERING} - set("[2J]0;title31m")
    assert found == set()


def test_json_keeps_the_text(hostile):
    result = CliRunner().invoke(app, ["sql", "FROM events", "--json", "--store", str(hostile)])
    assert json.loads(result.stdout)[0]["message"] == f"text{STEERING}"


def test_csv_is_the_stored_text_in_a_file_and_printable_on_a_terminal(hostile, monkeypatch):
    command = ["sql", "SELECT message FROM events", "--csv", "--store", str(hostile)]
    assert "\x1b" in CliRunner().invoke(app, command).stdout
    monkeypatch.setattr(_output, "_is_terminal", lambda: True)
    assert "\x1b" not in CliRunner().invoke(app, command).stdout
