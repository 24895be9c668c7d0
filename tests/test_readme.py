"""The README tells the truth: its commands exist, its first example runs."""

import re
from pathlib import Path

import pytest
from typer.main import get_command

import devtrack
from devtrack.cli import app
from devtrack.store import open_store

README = (Path(devtrack.__file__).parents[1] / "README.md").read_text()


def test_every_command_is_named():
    commands = get_command(app).commands  # pyright: ignore[reportAttributeAccessIssue]
    assert {
        name for name in commands if f"`{name}`" not in README and f"devtrack {name}" not in README
    } == set()


@pytest.mark.filterwarnings("ignore")
def test_the_first_example_runs_as_pasted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    example = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)[0]
    assert "max_steps=300" in example
    exec(compile(example.replace("max_steps=300", "max_steps=2"), "README.md", "exec"), {})
    found = open_store("runs").sql("SELECT DISTINCT metric FROM metrics ORDER BY 1").fetchall()
    assert [metric for (metric,) in found] == ["llc", "loss", "lr", "weight_norm"]
