"""Options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class StepScale(StrEnum):
    """Scale of the step axis."""

    LOG = "log"
    LINEAR = "linear"


StoreFolder = Annotated[
    str, typer.Option("--store", envvar="DEVTRACK_STORE", help="Folder of the store.")
]
Run = Annotated[
    str | None, typer.Argument(metavar="RUN", help="Run id or name; the newest run if left out.")
]
RunOrAll = Annotated[
    str | None, typer.Argument(metavar="RUN", help="Run id or name; all runs if left out.")
]
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
TimeoutS = Annotated[
    float | None, typer.Option("--timeout-s", help="Seconds that the query may run; 300.")
]
MaxRows = Annotated[
    int | None, typer.Option("--max-rows", help="Rows that the query may return; 10 million.")
]
