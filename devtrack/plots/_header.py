"""The strip above the panels: names the stages, dates the transitions, names the events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from devtrack.plots._stages import Stage, shade
from devtrack.plots._style import FAINT, INK, SMALL_PT, text_width_in
from devtrack.series import ConfigEvent, Transition

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LANES = (0.14, 0.3, 0.46)  # heights of the intervals of transitions that are close together
_GAP_IN = 0.06
_STAGE_HEIGHT = 0.72


def draw_strip(
    ax: Axes,
    bands: Sequence[Transition],
    *,
    spans: Sequence[Stage],
    marks: Sequence[ConfigEvent] = (),
) -> None:
    """Draw the strip on axes that have the panels' step scale.

    Args:
        ax: The axes; their own vertical axis is hidden.
        bands: The transitions, in order of midpoint.
        spans: The stages.
        marks: The events.
    """
    ax.set_label("strip")
    ax.set_ylim(0, 1)
    ax.yaxis.set_visible(False)
    ax.spines[["top", "left", "right", "bottom"]].set_visible(False)
    ax.tick_params(bottom=False, labelbottom=False, which="both")
    shade(ax, bands, spans=spans)
    for stage in spans:
        _name_stage(ax, stage)
    _draw_intervals(ax, bands)
    taken = _name_transitions(ax, bands)
    _name_events(ax, marks, taken)


def _draw_intervals(ax: Axes, bands: Sequence[Transition]) -> None:
    """Draw each midpoint with its interval, in the lowest lane that is free there."""
    ends = [-np.inf] * len(_LANES)
    for index, band in enumerate(bands):
        known = np.isfinite(band.midpoint_low) and np.isfinite(band.midpoint_high)
        low, high = (
            (band.midpoint_low, band.midpoint_high) if known else (band.midpoint, band.midpoint)
        )
        start = _position(ax, low) - _GAP_IN / _width_in(ax)
        lane = next((n for n, end in enumerate(ends) if end < start), int(np.argmin(ends)))
        ends[lane] = _position(ax, high) + _GAP_IN / _width_in(ax)
        if known:
            ax.plot(
                [low, high],
                [_LANES[lane]] * 2,
                color=INK,
                linewidth=1.3,
                marker="|",
                markersize=4.5,
                zorder=4,
                gid=f"interval:{index}",
            )
        marker, size = ("^", 5.0) if band.kind == "turn" else ("o", 3.2)
        ax.plot(
            [band.midpoint],
            [_LANES[lane]],
            color=INK,
            marker=marker,
            markersize=size,
            zorder=5,
            gid=f"dot:{index}",
        )


def _name_transitions(ax: Axes, bands: Sequence[Transition]) -> list[tuple[float, float]]:
    """Write T0, T1, … above the strip, neighbours without room as one; return what is taken."""
    groups: list[list[int]] = []
    for index, band in enumerate(bands):
        room = 1.15 * text_width_in("T0–T9") / _width_in(ax)
        if groups and _position(ax, band.midpoint) - _centre(ax, bands, groups[-1]) < room:
            groups[-1].append(index)
        else:
            groups.append([index])
    taken = []
    for group in groups:
        name = f"T{group[0]}" if len(group) == 1 else f"T{group[0]}–T{group[-1]}"
        taken.append(_above(ax, _centre(ax, bands, group), name, weight="bold", color=INK))
    return taken


def _centre(ax: Axes, bands: Sequence[Transition], group: Sequence[int]) -> float:
    return float(np.mean([_position(ax, bands[index].midpoint) for index in group]))


def _name_events(ax: Axes, marks: Sequence[ConfigEvent], taken: list[tuple[float, float]]) -> None:
    """Write the kinds of events above their lines or beside them, where there is room."""
    for mark in marks:
        name = " ".join(mark.kind.replace("_", " ").split())
        place, half = _position(ax, mark.step), 0.5 * text_width_in(name) / _width_in(ax)
        for middle in (place, place + half, place - half):
            if all(middle + half < start or middle - half > end for start, end in taken):
                taken.append(_above(ax, middle, name, weight="normal", color=FAINT))
                break


def _name_stage(ax: Axes, stage: Stage) -> None:
    """Write the stage's name if it fits, else its number, else nothing."""
    start, end = _position(ax, stage.start), _position(ax, stage.end)
    for text in (f"stage {stage.number}", str(stage.number)):
        if text_width_in(text) < 0.95 * (end - start) * _width_in(ax):
            ax.text(
                (start + end) / 2,
                _STAGE_HEIGHT,
                text,
                transform=ax.transAxes,
                ha="center",
                va="center",
                fontsize=SMALL_PT,
                color=INK,
            )
            return


def _above(ax: Axes, place: float, text: str, *, weight: str, color: str) -> tuple[float, float]:
    """Write a name above the strip and return the room it takes, in fractions of the width."""
    ax.text(
        place,
        1.04,
        text,
        transform=ax.transAxes,
        ha="center",
        va="bottom",
        fontsize=SMALL_PT,
        fontweight=weight,
        color=color,
        parse_math=False,
    )
    half = (0.5 * text_width_in(text) + _GAP_IN) / _width_in(ax)
    return place - half, place + half


def _position(ax: Axes, step: float) -> float:
    pixel = ax.transData.transform((step, 0))
    return float(ax.transAxes.inverted().transform(pixel)[0])


def _width_in(ax: Axes) -> float:
    figure = ax.figure.get_figure(root=True)
    assert figure is not None
    return ax.get_position().width * figure.get_figwidth()
