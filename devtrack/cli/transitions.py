"""``devtrack transitions``: what changed in a run, and when."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from devtrack.cli import _options as options
from devtrack.cli._output import not_found, print_table, require_one_format, suggest

if TYPE_CHECKING:
    from devtrack.series import Move, Transition

COLUMNS = ("T", "kind", "what moved", "change ± se", "from", "mid [interval]", "to", "evidence")


def transitions(
    run: options.Run = None,
    store: options.StoreFolder = "runs",
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
    be evaluated, and why the others could not.
    """
    require_one_format(as_json=as_json, as_csv=as_csv)
    from devtrack.store import open_store
    from devtrack.store.readers import read_table, transitions_query

    opened = open_store(store)
    info = opened.run(run)
    from devtrack.transitions.coverage import read_coverage
    from devtrack.transitions.detection import find_transitions

    found = find_transitions(opened, info.run_id, alpha=alpha, metrics=metric, sites=site)
    query = transitions_query(info.run_id)
    if as_json or as_csv:
        print_table(*read_table(opened, query), as_json=as_json, as_csv=as_csv)
    else:
        write_transitions(found)
    coverage = read_coverage(opened, info.run_id, metrics=metric, sites=site)
    if not found and not coverage.evaluated:
        raise not_found(f"run {info.name!r}: {coverage}. {coverage.advice}")
    if not found:
        raise not_found(
            f"no transition in run {info.name!r} at alpha {alpha:g}, {coverage}. "
            "Look at its timeline: devtrack timeline."
        )
    if coverage.excluded:
        suggest(str(coverage))
    suggest(f'See also: devtrack sql "{query}"')


def write_transitions(found: Sequence[Transition]) -> None:
    """Write transitions as a table, and what its columns mean to stderr."""
    columns = (*COLUMNS, "event") if any(one.event for one in found) else COLUMNS
    lines = [line[: len(columns)] for line in transition_lines(found)]
    print_table(columns, lines, no_wrap=frozenset(columns) - {"what moved"})
    if found:
        suggest(
            f"from, mid, to: optimizer steps, mid with its {found[0].interval_level:.0%} interval; "
            f"evidence: {found[0].evidence_method}; false-alarm rate per run: {found[0].alpha:g}"
        )


def transition_lines(found: Sequence[Transition]) -> list[tuple[str, ...]]:
    """Return the table's lines: one per transition, one per series that moved in it.

    A transition of a single series has one line. The last cell is the event, if any.
    """
    from devtrack.report.formatting import measured_text, number_text

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
    from devtrack.report.formatting import interval_text, step_text

    interval = interval_text(one.midpoint, one.midpoint_low, one.midpoint_high)
    return step_text(one.onset), interval, step_text(one.end)
