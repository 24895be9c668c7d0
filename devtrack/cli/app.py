"""The list of commands, and what happens when one of them fails."""

from __future__ import annotations

import os
import sys
import warnings
from typing import Annotated

import typer
from typer.core import TyperGroup

from devtrack.cli import (
    calibrate,
    compact,
    demo,
    doctor,
    export,
    report,
    runs,
    sql,
    timeline,
    transitions,
    watch,
)
from devtrack.cli._output import EXIT_ERROR, log
from devtrack.errors import DevtrackError

_EXIT_INTERRUPTED = 130


class _Commands(TyperGroup):
    """Turns an expected failure of any command into one line on stderr and an exit code."""

    def invoke(self, ctx: typer.Context) -> object:  # pyright: ignore[reportIncompatibleMethodOverride]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("default")
                warnings.showwarning = _one_line
                result = super().invoke(ctx)
            sys.stdout.flush()
        except DevtrackError as error:
            log(str(error))
            raise typer.Exit(EXIT_ERROR) from error
        except BrokenPipeError as error:  # `| head` has seen enough: no error of ours
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 - flushed again at exit
            raise typer.Exit(0) from error
        except OSError as error:
            log(str(error))
            raise typer.Exit(EXIT_ERROR) from error
        except KeyboardInterrupt as error:
            log("stopped")
            raise typer.Exit(_EXIT_INTERRUPTED) from error
        return result


def _one_line(message: Warning | str, *_: object, **__: object) -> None:
    log(f"warning: {message}")


app = typer.Typer(
    name="devtrack",
    cls=_Commands,
    help="Watch a network while it trains and find when its inner structure changes.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(version("devtrack"))
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_version, is_eager=True),
    ] = False,
) -> None:
    """Watch a network while it trains and find when its inner structure changes."""


app.command(epilog="Example: devtrack demo --out grokking.png")(demo.demo)
app.command(epilog="Example: devtrack runs --json")(runs.runs)
app.command(
    epilog="Example: devtrack sql \"FROM llc WHERE status = 'ok'\" --csv > llc.csv",
    context_settings={"allow_extra_args": True},  # it says itself what is wrong with them
)(sql.sql)
app.command(epilog="Example: devtrack transitions grokking")(transitions.transitions)
app.command(epilog="Example: devtrack timeline grokking --out timeline.png")(timeline.timeline)
app.command(epilog="Example: devtrack report grokking --output grokking.html")(report.report)
app.command(epilog="Example: devtrack watch grokking --png timeline.png")(watch.watch)
app.command(epilog="Example: devtrack calibrate problem.py:build grokking")(calibrate.calibrate)
app.command(epilog="Example: devtrack export llc.parquet --query 'FROM llc'")(export.export)
app.command(epilog="Example: devtrack compact grokking")(compact.compact)
app.command(epilog="Example: devtrack doctor --store runs")(doctor.doctor)


def main() -> None:
    """Run the command line and exit."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # pyright: ignore - a terminal without '±' gets '?'
    app(prog_name="devtrack")
