"""``devtrack watch``: a run on the terminal, and as a picture, while it trains."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from devtrack.cli import _options as options
from devtrack.cli._output import suggest
from devtrack.cli._pictures import require_picture, write_picture

if TYPE_CHECKING:
    from devtrack.series import Transition
    from devtrack.store import Store

_IDLE_PER_WORK = 9.0  # looking for transitions takes at most a tenth of one core


def watch(
    run: options.Run = None,
    store: options.StoreFolder = "runs",
    png: Annotated[
        Path | None, typer.Option("--png", help="Picture to keep up to date: .png, .pdf or .svg.")
    ] = None,
    interval: Annotated[
        float, typer.Option("--interval", min=0.1, help="Seconds from one look to the next.")
    ] = 5.0,
    axis: Annotated[
        options.StepScale, typer.Option("--axis", help="Scale of the step axis.")
    ] = options.StepScale.LOG,
    metric: options.Metrics = None,
    once: Annotated[bool, typer.Option("--once", help="Look once, print it, and end.")] = False,
) -> None:
    """Watch a run on the terminal while it trains.

    Ends when the run does, or on Ctrl-C. It reads only: training neither waits nor changes.
    Transitions are looked for again and again, so the false-alarm rate of `devtrack transitions`
    does not hold for what shows up on the way.
    """
    if png is not None:
        require_picture(png)
    from rich.console import Console
    from rich.live import Live

    from devtrack.cli._sparklines import letters_for
    from devtrack.cli._watch_screen import read_run_view, screen
    from devtrack.store import open_store

    opened = open_store(store)
    info = opened.run(run)
    console = Console()
    letters = letters_for(sys.stdout.encoding)  # while it is what it is: Live puts its own there
    finder = _Finder(opened, info.run_id)
    drawn: object = None
    live = Live(console=console, auto_refresh=False) if console.is_terminal else None
    with _until_interrupted() as stop, live or nullcontext():
        while True:
            look = read_run_view(opened, info.run_id, info.name, metrics=metric)
            found = finder.find(look.seen, now=once or look.ended)
            shown = screen(
                look,
                found,
                width=console.width,
                height=console.height,
                axis=axis.value,
                letters=letters,
            )
            if live is not None:
                live.update(shown, refresh=True)
            if png is not None and look.curves and drawn != (look.seen, finder.version):
                drawn = (look.seen, finder.version)
                _draw(opened, info.run_id, png, axis=axis.value, metrics=metric, found=found)
            if once or look.ended or stop.wait(interval):
                break
    if live is None:  # a pipe or a file gets the last screen, when it is all over
        console.print(shown)
    if png is not None and drawn is not None:
        suggest(f"picture: {png}")


class _Finder:
    """Looks for transitions when there is something new, but not more often than is cheap.

    Attributes:
        version: Counts the searches.
    """

    def __init__(self, store: Store, run_id: str) -> None:
        self.version = 0
        self._store, self._run_id = store, run_id
        self._found: Sequence[Transition] = ()
        self._seen: object = (0, 0)
        self._next = 0.0

    def find(self, seen: object, *, now: bool) -> Sequence[Transition]:
        """Return the transitions found so far; nothing is written.

        Args:
            seen: What the run holds; a search is made only if it has changed.
            now: Search even if the last search was not long ago.
        """
        start = time.monotonic()
        if seen == self._seen or (start < self._next and not now):
            return self._found
        from devtrack.transitions.detection import find_transitions

        self._found = find_transitions(self._store, self._run_id, save=False)
        self._seen = seen
        self.version += 1
        self._next = time.monotonic() + _IDLE_PER_WORK * (time.monotonic() - start)
        return self._found


def _draw(
    store: Store,
    run_id: str,
    path: Path,
    *,
    axis: str,
    metrics: Sequence[str] | None,
    found: Sequence[Transition],
) -> None:
    """Replace the picture in one go: whoever looks sees the old one or the new one."""
    from devtrack.plots import timeline

    figure = timeline(store, run_id, axis=axis, metrics=metrics, transitions=found)
    partial = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        write_picture(figure, partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def _until_interrupted() -> Iterator[threading.Event]:
    """Yield an event that the first Ctrl-C sets; a second one interrupts as usual.

    A KeyboardInterrupt could fall into a query or a picture. This one waits until they are done.
    """
    stop = threading.Event()

    def interrupt(*_: object) -> None:
        stop.set()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)
