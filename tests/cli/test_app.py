"""What holds for every command: help, streams, pipes, start-up."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
import typer

from devtrack.cli import app

COMMANDS = sorted(typer.main.get_command(app).commands)  # pyright: ignore
DEVTRACK = [sys.executable, "-c", "from devtrack.cli import main; main()"]


def test_the_commands_are_these():
    assert COMMANDS == [
        "calibrate",
        "compact",
        "demo",
        "doctor",
        "export",
        "report",
        "runs",
        "sql",
        "timeline",
        "transitions",
        "watch",
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


def test_a_table_on_a_terminal_fits_and_stops_after_200_rows(pristine):
    import fcntl
    import pty
    import struct
    import termios

    query = "SELECT range AS n, repeat('word ', 30) AS text FROM range(300)"
    environment = {**os.environ, "TERM": "xterm", "NO_COLOR": "1"}
    environment.pop("COLUMNS", None)  # which would speak for the terminal
    primary, secondary = pty.openpty()
    fcntl.ioctl(secondary, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
    with subprocess.Popen(
        [*DEVTRACK, "sql", query, "--store", str(pristine)],
        stdin=secondary,
        stdout=secondary,
        stderr=subprocess.PIPE,
        env=environment,
    ) as process:
        os.close(secondary)
        written = b"".join(iter(lambda: _read(primary), b""))
        assert b"100 more rows" in process.stderr.read()
    os.close(primary)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", written.decode()).splitlines()
    assert max(map(len, lines)) <= 60
    numbers = [line.split()[0] for line in lines if line.strip() and line.split()[0].isdigit()]
    assert numbers == [str(n) for n in range(200)]
    colours = re.findall(r"\x1b\[(?:3|4)\d", written.decode())
    assert colours == []


def _read(terminal):
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux's way to say that the other end is closed
        return b""
