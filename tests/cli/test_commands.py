"""What holds for every command: help, streams, pipes, start-up."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import typer

from devtrack.cli import app
from devtrack.store import open_store

COMMANDS = sorted(typer.main.get_command(app).commands)  # pyright: ignore
DEVTRACK = [sys.executable, "-c", "from devtrack.cli import main; main()"]


def test_the_commands_are_these():
    assert COMMANDS == [
        "compact",
        "demo",
        "doctor",
        "export",
        "runs",
        "sql",
        "timeline",
        "transitions",
    ]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(devtrack, command):
    code, out, err = devtrack(command, "--help")
    assert (code, err) == (0, "")
    assert f"Example: devtrack {command}" in out
    assert "--store" in out
    assert devtrack(command, "-h")[1] == out


def test_the_list_of_commands_describes_each_in_one_line(devtrack):
    _, out, _ = devtrack("--help")
    lines = {line.split()[0]: line for line in out.splitlines() if line.startswith("  ")}
    for command in COMMANDS:
        assert lines[command].rstrip().endswith(".")
        assert not lines[command].rstrip().endswith("...")


def test_every_option_is_documented(devtrack):
    for command in typer.main.get_command(app).commands.values():  # pyright: ignore
        for parameter in command.params:
            assert getattr(parameter, "help", None) or parameter.name == "help", parameter.name


def test_the_version(devtrack):
    from importlib.metadata import version

    assert devtrack("--version") == (0, f"{version('devtrack')}\n", "")


def run(*arguments, **options):
    return subprocess.run(
        [*DEVTRACK, *map(str, arguments)], capture_output=True, text=True, check=False, **options
    )


def test_head_may_close_the_pipe(pristine):
    query = "SELECT range, repeat('x', 200) FROM range(20000)"
    for flag in ([], ["--csv"], ["--json"]):
        with subprocess.Popen(
            [*DEVTRACK, "sql", query, "--store", str(pristine), *flag],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.readline()
            process.stdout.close()
            assert process.stderr.read() == b""
            assert process.wait() == 0


@pytest.mark.parametrize("flag", [[], ["--csv"], ["--json"]])
def test_a_terminal_without_these_letters_gets_others(pristine, flag):
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    arguments = ("sql", "SELECT 'λ ± 1' AS a", "--store", pristine, *flag)
    done = run(*arguments, env=environment, encoding="latin-1")
    assert (done.returncode, done.stderr) == (0, "")
    assert "? ± 1" in done.stdout


def test_sql_waits_for_nothing_heavy(pristine):
    program = f"""
import sys
sys.argv = ["devtrack", "sql", "FROM runs", "--store", {str(pristine)!r}]
from devtrack.cli import main
try:
    main()
finally:
    heavy = "torch lightning matplotlib scipy sklearn pandas devinterp rich".split()
    assert not set(heavy) & set(sys.modules), set(heavy) & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_failed_command_writes_no_traceback(tmp_path):
    done = run("runs", "--store", tmp_path / "nowhere")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("devtrack: ")
    assert done.stderr.count("\n") == 1


def test_a_table_on_a_terminal_fits_and_stops_after_200_rows(pristine, tmp_path):
    """Run in a pseudo-terminal 60 columns wide, once in colour and once with NO_COLOR."""
    import fcntl
    import pty
    import struct
    import termios

    for no_color in (False, True):
        environment = {**os.environ, "TERM": "xterm-256color"}
        environment.pop("NO_COLOR", None)
        if no_color:
            environment["NO_COLOR"] = "1"
        primary, secondary = pty.openpty()
        fcntl.ioctl(secondary, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
        with subprocess.Popen(
            [*DEVTRACK, "sql", "SELECT range AS n FROM range(300)", "--store", str(pristine)],
            stdin=secondary,
            stdout=secondary,
            stderr=subprocess.PIPE,
            env=environment,
        ) as process:
            os.close(secondary)
            written = b""
            while True:
                try:
                    chunk = os.read(primary, 65536)
                except OSError:
                    break
                if not chunk:
                    break
                written += chunk
            assert process.stderr is not None
            assert b"100 more rows" in process.stderr.read()
        os.close(primary)
        lines = written.decode().splitlines()
        assert sum(line.strip().isdigit() for line in lines) == 200
        assert max(map(len, lines)) < 100
        assert ("\x1b[3" in written.decode()) is False or not no_color


def test_the_store_of_another_process_s_training_can_be_read(pristine):
    assert open_store(pristine).runs()
    assert run("runs", "--store", pristine).returncode == 0
