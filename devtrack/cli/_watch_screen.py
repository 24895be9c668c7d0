"""What ``devtrack watch`` shows: one look at a run that is being written, as rich draws it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from rich.console import Group
from rich.table import Table
from rich.text import Text

from devtrack.cli._printable import printable
from devtrack.cli._sparklines import LEVELS, curve_text, marks_text
from devtrack.plots._captions import short_sites, shorten
from devtrack.plots._data import read_curves
from devtrack.plots._step_axis import squeeze
from devtrack.report.formatting import interval_text, measured_text
from devtrack.series import Series
from devtrack.store.readers import has_ended, read_events, read_size
from devtrack.transitions.coverage import Coverage, read_coverage

if TYPE_CHECKING:
    from devtrack.series import Transition
    from devtrack.store import Store


class _Room(NamedTuple):
    """How many lines and letters of the screen each part takes."""

    max_transitions: int = 8  # lines
    max_events: int = 4  # lines
    min_series: int = 3  # lines
    other: int = 6  # lines that are no series, transition or event
    name_share: float = 0.35  # of the width
    min_curve: int = 8  # letters
    max_curve: int = 60  # letters


_ROOM = _Room()


class RunView(NamedTuple):
    """A run at one moment.

    Attributes:
        name: Its name.
        curves: Its metrics; none before the first observation.
        events: (step, kind, message) of the newest events, the tracker's account left out.
        seen: Changes when the run has something new.
        since_s: Seconds since the last row was measured; None before the first.
        ended: The newest attempt has closed its account.
        coverage: Which of its series can be evaluated so far.
    """

    name: str
    curves: tuple[Series, ...]
    events: tuple[tuple[int, str, str], ...]
    seen: tuple[int, int]
    since_s: float | None
    ended: bool
    coverage: Coverage


def read_run_view(
    store: Store, run_id: str, name: str, *, metrics: Sequence[str] | None = None
) -> RunView:
    """RunView at a run; takes no lock and writes nothing.

    Raises:
        ConfigError: The run has metrics, but none that ``metrics`` matches.
    """
    rows, last_ts = read_size(store, run_id)
    events = [
        (step, event.kind, event.message)
        for step, event in reversed(read_events(store, run_id, without=["cost"]))
    ]
    ended = has_ended(store, run_id)
    curves = read_curves(store, run_id, metrics=metrics) if rows else []
    now = datetime.now(UTC).replace(tzinfo=None)
    return RunView(
        name,
        tuple(curves),
        tuple((step, kind, message or "") for step, kind, message in events[: _ROOM.max_events]),
        (rows, len(events)),
        None if last_ts is None else max(0.0, (now - last_ts).total_seconds()),
        bool(ended),
        read_coverage(store, run_id),
    )


def screen(
    look: RunView,
    transitions: Sequence[Transition],
    *,
    width: int = 80,
    height: int = 24,
    axis: str = "log",
    letters: str = LEVELS,
) -> Group:
    """Return what a terminal of this size shows.

    Args:
        look: The run.
        transitions: Those found so far, by midpoint.
        width, height: Of the terminal, in letters.
        axis: Scale of the curves' steps, ``"log"`` or ``"linear"``.
        letters: For the curves, from low to high.
    """
    heading = Text(_heading(look), style="bold", overflow="ellipsis", no_wrap=True)
    if not look.curves:
        return Group(heading, Text("waiting for the first observation"))
    shown = transitions[-_ROOM.max_transitions :]
    room = height - _ROOM.other - len(shown) - len(look.events)
    moved = {(move.metric, move.site) for one in transitions for move in one.moves}
    curves = sorted(look.curves, key=lambda curve: (curve.metric, curve.site) not in moved)
    fitting = curves[: max(room, _ROOM.min_series)]
    lines: list[Table | Text] = [
        _table(fitting, transitions, look=look, width=width, axis=axis, letters=letters)
    ]
    if len(fitting) < len(curves):
        lines.append(Text(f"and {len(curves) - len(fitting)} more series; --metric chooses"))
    lines += [_line(_found_text(index, one)) for index, one in _last(transitions)]
    if not transitions:
        lines.append(_line(_none_text(look.coverage)))
    lines += [
        _line(f"event at step {step}: {kind.replace('_', ' ')}. {message}")
        for step, kind, message in reversed(look.events)
    ]
    return Group(heading, *lines)


def _heading(look: RunView) -> str:
    steps = [int(curve.step.max()) for curve in look.curves if len(curve.step)]
    parts = [f"run {printable(repr(look.name))}"]
    if steps:
        observed = len(np.unique(np.concatenate([curve.step for curve in look.curves])))
        parts += [f"step {max(steps)}", f"{observed} observed steps"]
    if look.ended:
        parts.append("ended")
    elif look.since_s is not None:
        parts.append(f"last row {_duration(look.since_s)} ago")
    return " · ".join(parts)


def _duration(seconds: float) -> str:
    """Write a duration in its largest unit.

    Example:
        >>> _duration(5.4), _duration(125), _duration(7200), _duration(1e6)
        ('5 s', '2 min', '2 h', '12 d')
    """
    for unit, size, most in (("s", 1, 90), ("min", 60, 90), ("h", 3600, 48)):
        if seconds < size * most:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86400:.0f} d"


def _table(
    curves: Sequence[Series],
    transitions: Sequence[Transition],
    *,
    look: RunView,
    width: int,
    axis: str,
    letters: str,
) -> Table:
    scale = squeeze if axis == "log" else np.asarray
    ends = [(curve.step.min(), curve.step.max()) for curve in look.curves]
    first = float(scale(min(low for low, _ in ends)))
    span = float(scale(max(high for _, high in ends))) - first or 1.0
    labels = _names(curves, most=int(_ROOM.name_share * width))
    names = max(map(len, labels))
    rows = [(name, _latest(curve), _trust(curve)) for name, curve in zip(labels, curves)]
    taken = names + max(len(row[1]) for row in rows) + max(len(row[2]) for row in rows) + 6
    room = min(max(width - taken, _ROOM.min_curve), _ROOM.max_curve)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(max_width=names, no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True, overflow="ellipsis")
    table.add_column(no_wrap=True, width=room)
    for curve, row in zip(curves, rows, strict=True):
        ok = (curve.status == "ok") & np.isfinite(curve.value)
        place = (scale(curve.step[ok]) - first) / span
        drawn = curve_text(place, curve.value[ok], width=room, letters=letters)
        table.add_row(*(Text(printable(cell)) for cell in row), Text(drawn))
    if transitions:
        places = [(float(scale(one.midpoint)) - first) / span for one in transitions]
        letter = "▲" if letters == LEVELS else "^"
        table.add_row("", "", "", Text(marks_text(places, width=room, letter=letter)))
    return table


def _names(curves: Sequence[Series], *, most: int) -> list[str]:
    """Name the lines by ``metric@site``, cut where it tells them apart the least."""
    short = short_sites({curve.site for curve in curves} - {"model"})
    return [
        shorten(
            curve.metric if curve.site == "model" else f"{curve.metric}@{short[curve.site]}",
            most=most,
        )
        for curve in curves
    ]


def _latest(curve: Series) -> str:
    """Write the newest number; a doubted one with a question mark, none as its status."""
    value, se, status = curve.value[-1], curve.se[-1], curve.status[-1]
    if not np.isfinite(value):
        return str(status)
    return measured_text(value, se) + ("" if status == "ok" else " ?")


def _trust(curve: Series) -> str:
    counts = {kind: int((curve.status == kind).sum()) for kind in ("ok", "suspect", "failed")}
    return ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)


def _last(transitions: Sequence[Transition]) -> list[tuple[int, Transition]]:
    return list(enumerate(transitions))[-_ROOM.max_transitions :]


def _found_text(index: int, one: Transition) -> str:
    """Write a transition in a line.

    Example:
        >>> from devtrack.series import Move, Transition
        >>> move = Move("llc", "model", "down", -60., 3., 150., 301.6, 610., 280., 330.)
        >>> _found_text(0, Transition("step", 150., 301.6, 610., 280., 330., .9, 1., "p", .05,
        ...                           None, (move,)))
        'T0 step at 302 [280, 330]: llc down'
    """
    when = interval_text(one.midpoint, one.midpoint_low, one.midpoint_high)
    names = [
        f"{move.metric if move.site == 'model' else f'{move.metric}@{move.site}'} {move.direction}"
        for move in one.moves
    ]
    event = f" ({one.event.replace('_', ' ')})" if one.event else ""
    return f"T{index} {one.kind} at {when}{event}: {', '.join(names)}"


def _none_text(coverage: Coverage) -> str:
    """Say that there is no transition, and what that rests on.

    Example:
        >>> _none_text(Coverage(("llc", "loss"), {}))
        'no transition so far; 2 series evaluated'
        >>> _none_text(Coverage((), {"fewer than 10 ok points": ("llc (9 ok)",)}))
        'no series can be evaluated yet; fewer than 10 ok points: llc (9 ok)'
    """
    return (
        f"no transition so far; {coverage}"
        if coverage.evaluated
        else (f"no series can be evaluated yet; {coverage.reasons_text}")
    )


def _line(text: str) -> Text:
    return Text(printable(" ".join(text.split())), no_wrap=True, overflow="ellipsis")
