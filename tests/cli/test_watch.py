"""``devtrack watch``: what it shows, when it ends, and that it only reads."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from devtrack.cli._sparklines import ASCII_LEVELS, curve_text, marks_text
from devtrack.cli._watch_screen import read_run_view
from devtrack.records import Event, Row, RunInfo, Status, TrainingProgress
from devtrack.store import open_store

NASTY = "[red]loss[/red] [/nope]"


def files(store: Path) -> set[Path]:
    return {path for path in store.rglob("*") if path.is_file()}


def test_one_look_prints_latest_values_curves_and_transitions(devtrack, store, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    before = files(store)
    code, out, err = devtrack("watch", "grokking", "--store", store, "--once")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith("run 'grokking' · step 2000 · 37 observed steps · last row")
    (llc,) = [line for line in lines if line.startswith("llc")]
    assert " ± 1.0 " in llc and "36 ok, 1 failed" in llc
    curve = llc.split("failed")[1].strip()
    assert curve[0] in "▇█" and curve[-1] in "▁▂", "it fell"
    assert any(line.startswith("T0 step at ") and "llc down" in line for line in lines)
    assert "event at step 5: lr change. learning rate 0.1 -> 0.01" in lines
    assert files(store) == before, "it only reads"


def test_the_picture_is_replaced_whole(devtrack, store, tmp_path):
    target = tmp_path / "now.png"
    code, _, err = devtrack("watch", "--store", store, "--once", "--png", target)
    assert (code, err) == (0, f"picture: {target}\n")
    assert target.read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["now.png"]


@pytest.mark.parametrize("columns", ["80", "120"])
def test_heads_keep_their_numbers_on_a_narrow_terminal(devtrack, tmp_path, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    store = open_store(tmp_path / "runs", create=True)
    with store.writer(RunInfo("r-1", "heads", datetime(2026, 11, 21))) as writer:
        for step in range(3):
            rows = [
                Row(
                    f"heads.{score}", 0.1 * head, 0.01, site=f"blocks.{block}.attention.head.{head}"
                )
                for score in ("previous_token", "prefix_matching")
                for block in range(2)
                for head in range(3)
            ]
            writer.append(TrainingProgress(step), rows)
    code, out, _ = devtrack("watch", "--store", store.path, "--once")
    assert code == 0
    lines = [line for line in out.splitlines() if line.startswith("heads")]
    assert len({line.split()[0] for line in lines}) == len(lines) == 12
    assert all(len(line) <= int(columns) for line in lines)
    assert all(re.match(r"\S*blocks\.[01]…head\.[012] ", line) for line in lines)


def test_few_rows_are_no_error(devtrack, tmp_path):
    store = open_store(tmp_path / "runs", create=True)
    with store.writer(RunInfo("r-1", NASTY, datetime(2026, 11, 21))) as writer:
        writer.flush()
        code, out, _ = devtrack("watch", "--store", store.path, "--once")
        assert (code, out.splitlines()[1]) == (0, "waiting for the first observation")
        for step in (0, 5):
            writer.append(
                TrainingProgress(step),
                [Row(NASTY, 1.0, 0.1), Row("b", np.nan, status=Status.FAILED)],
            )
            writer.flush()
            code, out, _ = devtrack("watch", "--store", store.path, "--once")
            assert code == 0
            assert NASTY in out, "a name is no markup"
            assert "no series can be evaluated yet; fewer than 10 ok points: " in out
        assert "failed  2 failed" in out


def test_a_metric_that_has_only_failed_may_be_watched_by_itself(devtrack, tmp_path):
    store = open_store(tmp_path / "runs", create=True)
    with store.writer(RunInfo("r-1", "r", datetime(2026, 11, 21))) as writer:
        for step in range(30):
            failed = Row("llc", np.nan, status=Status.FAILED)
            writer.append(TrainingProgress(step), [Row("loss", 1.0 + step % 3, 0.1), failed])
        writer.flush()
        code, out, _ = devtrack("watch", "--store", store.path, "--once", "--metric", "llc")
    assert code == 0
    assert "failed  30 failed" in out
    assert "loss" not in out


def test_it_ends_when_the_newest_attempt_has_closed_its_account(tmp_path):
    store = open_store(tmp_path / "runs", create=True)
    info = RunInfo("r-1", "r", datetime(2026, 11, 21))
    with store.writer(info) as writer:
        writer.append(TrainingProgress(1), [Row("loss", 1.0)])
        writer.flush()
        assert not read_run_view(store, "r-1", "r").ended
        writer.append(TrainingProgress(1), [Event("cost")])
    assert read_run_view(store, "r-1", "r").ended
    with store.writer(info, keep_through_step=1) as writer:
        writer.append(TrainingProgress(2), [Row("loss", 1.0)])
        writer.flush()
        assert not read_run_view(store, "r-1", "r").ended, "resumed: the account is an old one"
        writer.append(TrainingProgress(2), [Event("cost")])
    assert read_run_view(store, "r-1", "r").ended


def test_it_follows_a_run_to_its_end(devtrack, tmp_path):
    store = open_store(tmp_path / "runs", create=True)
    writer = store.writer(RunInfo("r-1", "r", datetime(2026, 11, 21)))
    writer.append(TrainingProgress(0), [Row("loss", 1.0)])
    writer.flush()

    def train():
        for step in (1, 2):
            time.sleep(0.3)
            writer.append(TrainingProgress(step), [Row("loss", 1.0)])
            writer.flush()
        writer.append(TrainingProgress(2), [Event("cost")])
        writer.close()

    training = threading.Thread(target=train)
    training.start()
    code, out, _ = devtrack("watch", "--store", store.path, "--interval", "0.1")
    training.join()
    assert code == 0
    assert "step 2 · 3 observed steps · ended" in out


def test_ctrl_c_ends_it_without_an_error(store):
    command = "import sys; from devtrack.cli import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", command, "watch", "quiet", "--store", str(store), "--png", "q.png"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=store,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        text=True,
    ) as process:
        for _ in range(300):
            if (store / "q.png").exists():
                break
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "picture: q.png\n")
    assert out.startswith("run 'quiet'")
    assert "no transition so far; 3 series evaluated" in out


def test_a_terminal_shows_blocks_and_fits(store):
    import fcntl
    import pty
    import struct
    import termios

    environment = {**os.environ, "TERM": "xterm", "PYTHONIOENCODING": "utf-8"}
    environment.pop("COLUMNS", None)  # which would speak for the terminal
    primary, secondary = pty.openpty()
    fcntl.ioctl(secondary, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 70, 0, 0))
    command = "import sys; from devtrack.cli import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", command, "watch", "--once", "--store", str(store)],
        stdout=secondary,
        stderr=subprocess.PIPE,
        env=environment,
    ) as process:
        os.close(secondary)
        written = b""
        try:
            while part := os.read(primary, 65536):
                written += part
        except OSError:  # Linux's way to say that the other end is closed
            pass
        assert process.stderr.read() == b""
    os.close(primary)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "\n", written.decode())
    assert "▁" in text and "▲" in text
    assert max(map(len, text.splitlines())) <= 70


@pytest.mark.parametrize(
    ("arguments", "code", "parts"),
    [
        (["groking"], 1, ["run 'groking'", "Did you mean 'grokking'"]),
        (["--metric", "lcl"], 1, ["metrics='lcl'", "llc, loss"]),
        (["--png", "x.gif"], 1, ["x.gif", ".png, .pdf or .svg"]),
        (["--interval", "0"], 2, ["--interval"]),
    ],
)
def test_bad_input(devtrack, store, arguments, code, parts):
    given, _, err = devtrack("watch", *arguments, "--store", store, "--once")
    assert given == code
    for part in parts:
        assert part in err


def test_a_curve_shows_its_shape_in_every_width():
    place = np.linspace(0, 1, 200)
    for width in (1, 2, 7, 60):
        drawn = curve_text(place, place, width=width, letters=ASCII_LEVELS)
        levels = [ASCII_LEVELS.index(letter) for letter in drawn]
        assert len(drawn) == width
        assert levels == sorted(levels)
    assert curve_text(place, 10.0 ** (-4 * place), width=8) == "█▇▆▅▄▃▂▁", "a wide range: its log"
    assert curve_text(place[:0], place[:0], width=3) == "   "
    assert marks_text([-1, 2], width=3, letter="^") == "^ ^"
