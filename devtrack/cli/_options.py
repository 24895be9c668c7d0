"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

Store = Annotated[
    str, typer.Option("--store", envvar="DEVTRACK_STORE", help="Folder of the store.")
]
Run = Annotated[
    str | None, typer.Option("--run", help="Run id or name; the newest run if left out.")
]
RunArgument = Annotated[
    str | None, typer.Argument(metavar="RUN", help="Run id or name; the newest run if left out.")
]
OneRun = Annotated[str | None, typer.Option("--run", help="Run id or name; all if left out.")]
Metrics = Annotated[
    list[str] | None,
    typer.Option("--metric", help="Name or glob, such as 'probe/*'; may be repeated."),
]
Sites = Annotated[
    list[str] | None,
    typer.Option("--site", help="Name or glob, such as 'blocks.*'; may be repeated."),
]
Json = Annotated[bool, typer.Option("--json", help="Print a JSON array of objects.")]
Csv = Annotated[bool, typer.Option("--csv", help="Print CSV with a header.")]


def one_run(argument: str | None, option: str | None) -> str | None:
    """Return the run that was named as an argument or with ``--run``.

    Raises:
        typer.BadParameter: Both were given, and differ.
    """
    if argument is not None and option is not None and argument != option:
        raise typer.BadParameter(f"RUN {argument!r} and --run {option!r}: pass one of them.")
    return option if argument is None else argument
