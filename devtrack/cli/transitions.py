"""``devtrack transitions`` and ``devtrack timeline``: what happened in a run, and when."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from devtrack.cli import _options as options
from devtrack.cli._output import emit, hint, nothing, require_one_format, say
from devtrack.errors import ConfigError
from devtrack.report.formatting import interval_text, measured_text, number_text, step_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from devtrack.changepoints import Move, Transition
    from devtrack.records import RunInfo
    from devtrack.store import Store

COLUMNS = ("T", "kind", "what moved", "change ± se", "from", "mid [interval]", "to", "evidence")


class Axis(StrEnum):
    """Scale of the step axis."""

    LOG = "log"
    LINEAR = "linear"


def transitions(
    which: options.RunArgument = None,
    store: options.Store = "runs",
    run: options.Run = None,
    alpha: Annotated[
        float,
        typer.Option(
            "--alpha", help="Share of runs without a change in which one may be reported."
        ),
    ] = 0.05,
    metric: options.Metrics = None,
    site: options.Sites = None,
    as_json: options.Json = False,
    as_csv: options.Csv = False,
) -> None:
    """Find when the structure of a run changed.

    The result replaces the run's previous analysis in the store. The table has a line per
    transition and per series that took part in it; from, mid and to are optimizer steps. --json
    and --csv print the view 'transitions'. Where nothing was found, it says how many series could
    be judged, and why the others could not.
    """
    require_one_format(as_json=as_json, as_csv=as_csv)
    from devtrack.store import open_store

    opened = open_store(store)
    info = opened.run(options.one_run(which, run))
    from devtrack.transitions.coverage import read_judged
    from devtrack.transitions.detection import find_transitions

    found = find_transitions(opened, info.run_id, alpha=alpha, metrics=metric, sites=site)
    query = f"FROM transitions WHERE run_id = '{info.run_id}'"
    if as_json or as_csv:
        relation = opened.sql(query)
        emit(relation.columns, relation.fetchall(), as_json=as_json, as_csv=as_csv)
    else:
        write_transitions(found)
    judged = read_judged(opened, info.run_id, metrics=metric, sites=site)
    if not found and not judged.judged:
        raise nothing(f"run {info.name!r}: {judged}. {judged.advice}")
    if not found:
        raise nothing(
            f"no transition in run {info.name!r} at alpha {alpha:g}, {judged}. "
            "Look at its timeline: devtrack timeline."
        )
    if judged.left_out:
        hint(str(judged))
    hint(f'See also: devtrack sql "{query}"')


def write_transitions(found: Sequence[Transition]) -> None:
    """Write transitions as a table, and what its columns mean to stderr."""
    columns = (*COLUMNS, "event") if any(one.event for one in found) else COLUMNS
    lines = [line[: len(columns)] for line in transition_lines(found)]
    emit(columns, lines, rigid=frozenset(columns) - {"what moved"})
    if found:
        hint(
            f"from, mid, to: optimizer steps, mid with its {found[0].interval_level:.0%} interval; "
            f"evidence: {found[0].evidence_method}; false-alarm rate per run: {found[0].alpha:g}"
        )


def transition_lines(found: Sequence[Transition]) -> list[tuple[str, ...]]:
    """Return the table's lines: one per transition, one per series that moved in it.

    A transition of a single series has one line. The last cell is the recipe's event, if any.
    """
    lines: list[tuple[str, ...]] = []
    for index, one in enumerate(found):
        trailing = (number_text(one.evidence), one.event or "")
        if len(one.moves) > 1:
            what = f"{len(one.moves)} series together"
            lines.append((str(index), one.kind, what, "", *_dates(one), *trailing))
        for move in one.moves:
            alone = len(one.moves) == 1
            lines.append(
                (
                    str(index) if alone else "",
                    one.kind if alone else "",
                    ("" if alone else "  ") + _name(move),
                    f"{move.direction} {measured_text(move.effect, move.effect_se)}",
                    *_dates(move),
                    *(trailing if alone else ("", "")),
                )
            )
    return lines


def _name(move: Move) -> str:
    return move.metric if move.site == "model" else f"{move.metric}@{move.site}"


def _dates(one: Transition | Move) -> tuple[str, str, str]:
    interval = interval_text(one.midpoint, one.midpoint_low, one.midpoint_high)
    return step_text(one.onset), interval, step_text(one.end)


def timeline(
    out: Annotated[
        Path, typer.Option("--out", help="Picture to write: .png, .pdf or .svg.")
    ] = Path("timeline.png"),
    which: options.RunArgument = None,
    store: options.Store = "runs",
    run: options.Run = None,
    axis: Annotated[Axis, typer.Option("--axis", help="Scale of the step axis.")] = Axis.LOG,
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
    info = opened.run(options.one_run(which, run))
    found = analyse_if_stale(opened, info)
    figure = draw(
        opened, info.run_id, axis=axis.value, metrics=metric, sites=site, transitions=found
    )
    typer.echo(write_picture(figure, out, dpi=dpi))


def analyse_if_stale(store: Store, info: RunInfo) -> list[Transition] | None:
    """Find a run's transitions anew unless the store holds those of the run as it is now.

    Returns:
        The transitions; None if the store's own are up to date.
    """
    from devtrack.transitions.detection import find_transitions, is_current

    if is_current(store, info.run_id):
        return None
    say(f"looking for transitions in run {info.name!r}")
    return find_transitions(store, info.run_id)


def require_picture(path: Path) -> None:
    """Refuse a path that cannot become a picture, before the work is done.

    Raises:
        ConfigError: An unknown suffix or a missing folder.
    """
    if path.suffix.lower() not in (".png", ".pdf", ".svg"):
        raise ConfigError(
            f"out={str(path)!r}: must end in .png, .pdf or .svg. Try --out timeline.png."
        )
    if not path.absolute().parent.is_dir():
        raise ConfigError(
            f"out={str(path)!r}: the folder {path.absolute().parent} does not exist. Create it "
            "first, or choose another."
        )


def write_picture(figure: Figure, path: Path, *, dpi: int = 200) -> Path:
    """Write a figure in one go, so that a failure while drawing leaves no half of a file."""
    drawn = BytesIO()
    figure.savefig(drawn, format=path.suffix[1:].lower(), dpi=dpi)
    path.write_bytes(drawn.getvalue())
    return path
