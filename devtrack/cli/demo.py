"""``devtrack demo``: a network that groks, watched from its first step to its transition."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from devtrack.cli import _options as options
from devtrack.cli._output import log, not_found, suggest
from devtrack.cli._pictures import require_picture
from devtrack.cli.transitions import write_transitions


def demo(
    store: options.StoreFolder = "runs",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the training.")] = 0,
    out: Annotated[
        Path, typer.Option("--out", help="Picture to write: .png, .pdf or .svg.")
    ] = Path("timeline.png"),
) -> None:
    """Train a small network until it groks, and date that.

    The network learns to add modulo 53, with the tracker attached. About a minute on two cores;
    needs no data.
    """
    require_picture(out)
    log("training a network on addition modulo 53 until it generalises (about a minute)")
    from devtrack.cli._demo_training import run_demo

    with _progress_bar() as progress:
        result = run_demo(store, seed=seed, out=out, progress=progress)
    log(result.cost)
    write_transitions(result.transitions)
    suggest(
        f"timeline: {result.picture}\n"
        f"store:    {result.store}\n"
        "try next:\n"
        f'  devtrack sql --store {store} "SELECT step, llc, se, status FROM llc '
        f"WHERE run_id = '{result.run_id}' ORDER BY step\"\n"
        f'  devtrack sql --store {store} "SELECT metric, site, metric_midpoint, effect '
        f"FROM transitions WHERE run_id = '{result.run_id}' ORDER BY metric_midpoint\""
    )
    if not result.transitions:
        raise not_found("no transition found. Try another seed: devtrack demo --seed 1.")


@contextmanager
def _progress_bar() -> Iterator[Callable[[int, int, str], None]]:
    """Show a bar on stderr; nothing when stderr is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (
        BarColumn(bar_width=30),
        TextColumn("step {task.completed:.0f} of at most {task.total:.0f}"),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None)

        def update(done: int, planned: int, words: str) -> None:
            bar.update(task, completed=done, total=planned, description=words)

        yield update
