"""Pictures over several runs: where transitions recur, and what comes before what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from devtrack.plots._captions import shorten
from devtrack.plots._step_axis import scale_steps
from devtrack.plots._style import FAINT, INK, SMALL_PT, TEXT_PT, WIDTH_IN, text_width_in

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from devtrack.changepoints._step_scale import Axis
    from devtrack.transitions.lead_time import Precursor
    from devtrack.transitions.recurrence import Recurring

MAX_ROWS = 30
_NAME_CHARS = 40


class _Inches(NamedTuple):
    """Lengths of the figure, in inches."""

    row: float = 0.26
    top: float = 0.72
    bottom: float = 0.62
    right: float = 0.9


_INCHES = _Inches()


def draw_recurring(
    found: Sequence[Recurring], *, axis: Axis, title: str = "Transitions over runs"
) -> Figure:
    """Draw a row per recurring change: a dot per run at its midpoint, a bar at the median.

    The share of runs in which the change occurs stands on the right.

    Args:
        found: From ``recurrence.recurring``; the first ``MAX_ROWS`` are drawn, by midpoint.
        axis: On which they were compared.
        title: Heading, taken literally.
    """
    shown = sorted(found[:MAX_ROWS], key=lambda one: -one.midpoint)  # the first change on top
    figure, ax = _rows(
        [_name(one) for one in shown],
        title=title,
        below="On the right: runs in which it occurs, of those looked at",
        hidden=len(found) - len(shown),
    )
    scale_steps(ax, axis=axis.kind, first=axis.first, last=axis.last)
    for row, one in enumerate(shown):
        steps = [member.move.midpoint for member in one.members]
        ax.plot([min(steps), max(steps)], [row, row], color=FAINT, linewidth=0.8, zorder=2)
        ax.plot(
            steps,
            [row] * len(steps),
            linestyle="none",
            marker="o",
            markersize=4.5,
            markerfacecolor="white",
            markeredgecolor=INK,
            zorder=3,
            gid=f"runs:{row}",
        )
        ax.plot([one.midpoint], [row], marker="|", markersize=13, color=INK, mew=2, zorder=4)
        _beside(ax, row, f"{len(one.members)} of {one.num_runs}")
    ax.set_xlabel("midpoint in optimizer steps (circle: a run; bar: median)", fontsize=SMALL_PT)
    return figure


def draw_leads(
    found: Sequence[Precursor], *, axis: Axis, target: str, title: str | None = None
) -> Figure:
    """Draw a row per change: its mean lead before the target's change, with the interval.

    Right of the dashed line the change comes first. Filled: the interval leaves out zero.

    Args:
        found: From ``lead_time.precursors``; the first ``MAX_ROWS`` are drawn.
        axis: On which they were compared; it names the unit.
        target: The target's metric.
        title: Heading, taken literally.
    """
    shown = list(reversed(found[:MAX_ROWS]))
    figure, ax = _rows(
        [_name(one.change) for one in shown],
        title=title or f"What comes before the change of {target}",
        below="On the right: runs in which it comes first, of those that have both",
        hidden=len(found) - len(shown),
    )
    for row, one in enumerate(shown):
        lead = one.lead
        sure = lead.low > 0 or lead.high < 0
        if np.isfinite(lead.low):
            ax.plot([lead.low, lead.high], [row, row], color=INK, linewidth=1.2, gid=f"lead:{row}")
        ax.plot(
            [lead.mean],
            [row],
            marker="o",
            markersize=5.5,
            markerfacecolor=INK if sure else "white",
            markeredgecolor=INK,
            zorder=3,
        )
        _beside(ax, row, f"{lead.num_first} of {lead.num_runs}")
    ax.axvline(0, color=FAINT, linewidth=1, linestyle=(0, (4, 2)), zorder=1)
    unit = "decades of (step + 1)" if axis.kind == "log" else "steps"
    ax.set_xlabel(f"mean lead in {unit} (right of 0: comes first)", fontsize=SMALL_PT)
    ax.tick_params(labelsize=SMALL_PT)
    return figure


def _rows(names: Sequence[str], *, title: str, below: str, hidden: int) -> tuple[Figure, Axes]:
    """Return a figure with a row for each name, from below."""
    from matplotlib.figure import Figure

    names = [shorten(name, most=_NAME_CHARS) for name in names]
    left_in = 0.2 + max((text_width_in(name) for name in names), default=0.0)
    tall_in = max(len(names), 1) * _INCHES.row
    width_in, height_in = WIDTH_IN, tall_in + _INCHES.top + _INCHES.bottom
    figure = Figure(figsize=(width_in, height_in), facecolor="white")
    place = (
        *(left_in / width_in, _INCHES.bottom / height_in),
        *((width_in - left_in - _INCHES.right) / width_in, tall_in / height_in),
    )
    ax = figure.add_axes(place)
    ax.set_ylim(-0.6, max(len(names), 1) - 0.4)
    ax.set_yticks(range(len(names)), names, fontsize=SMALL_PT, parse_math=False)
    ax.tick_params(axis="y", length=0)
    ax.tick_params(axis="x", labelsize=SMALL_PT)
    for row in range(0, len(names), 2):
        ax.axhspan(row - 0.5, row + 0.5, facecolor="#f1f1f1", edgecolor="none", zorder=0)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.spines["bottom"].set_color(FAINT)
    words: dict[str, object] = {"color": INK, "va": "top", "parse_math": False}
    figure.text(
        *(0.15 / width_in, 1 - 0.12 / height_in, title),
        fontsize=TEXT_PT + 1,
        fontweight="bold",
        **words,  # pyright: ignore[reportArgumentType]
    )
    below += f"; {hidden} more rows are not drawn" if hidden > 0 else ""
    figure.text(
        *(0.15 / width_in, 1 - 0.38 / height_in, below),
        fontsize=SMALL_PT,
        **words,  # pyright: ignore[reportArgumentType]
    )
    return figure, ax


def _name(one: Recurring) -> str:
    kind, metric, site, direction = one.key
    name = metric if site == "model" else f"{metric} at {site}"
    return f"{name} {direction}" if kind == "step" else f"{name} {kind} {direction}"


def _beside(ax: Axes, row: int, text: str) -> None:
    ax.text(
        1.02,
        row,
        text,
        transform=ax.get_yaxis_transform(),
        va="center",
        fontsize=SMALL_PT,
        color=INK,
    )
