"""``devtrack timeline``: the metrics and transitions of a run as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from devtrack.cli import _options as options
from devtrack.cli._pictures import require_picture, write_picture
from devtrack.cli._stale import analyse_if_stale


def timeline(
    out: Annotated[
        Path, typer.Option("--out", help="Picture to write: .png, .pdf or .svg.")
    ] = Path("timeline.png"),
    run: options.Run = None,
    store: options.StoreFolder = "runs",
    axis: Annotated[
        options.StepScale, typer.Option("--axis", help="Scale of the step axis.")
    ] = options.StepScale.LOG,
    metric: options.Metrics = None,
    site: options.Sites = None,
    dpi: Annotated[int, typer.Option("--dpi", min=20, help="Dots per inch of a .png.")] = 200,
) -> None:
    """Draw a run's metrics and transitions over its steps.

    Prints the picture's path. Transitions are those of the latest `devtrack transitions`; they are
    found anew if the run has gone on since.
    """
    from devtrack.plots import timeline as draw
    from devtrack.store import open_store

    require_picture(out)
    opened = open_store(store)
    info = opened.run(run)
    found = analyse_if_stale(opened, info)
    figure = draw(
        opened, info.run_id, axis=axis.value, metrics=metric, sites=site, transitions=found
    )
    typer.echo(write_picture(figure, out, dpi=dpi))
