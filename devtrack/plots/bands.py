"""Draws what happened when: transitions as bands, the stages between them, the recipe's events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from devtrack.plots.curves import Band, Mark
from devtrack.plots.palette import (
    BAND,
    FAINT,
    INK,
    RECIPE_BAND,
    SMALL_PT,
    STAGE_SHADE,
    text_width_in,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_EVENT_LABELS = 6


class Stage(NamedTuple):
    """An interval between two transitions, in steps, numbered from 1."""

    number: int
    start: float
    end: float


def stages(bands: Sequence[Band], *, first: float, last: float) -> list[Stage]:
    """Return the stages between transitions; transitions that overlap leave none between them.

    A change that coincides with an event of the recipe divides nothing.

    Example:
        >>> stages([], first=0, last=10)
        [Stage(number=1, start=0, end=10)]
    """
    edges = [first]
    found = []
    parting = [band for band in bands if band.event is None]
    for band in sorted(parting, key=lambda band: band.onset):
        if band.onset > edges[-1]:
            found.append((edges[-1], band.onset))
        edges.append(max(edges[-1], band.end))
    if last > edges[-1]:
        found.append((edges[-1], last))
    return [Stage(number, *span) for number, span in enumerate(found, start=1)]


def shade(
    ax: Axes,
    bands: Sequence[Band],
    *,
    spans: Sequence[Stage],
    marks: Sequence[Mark] = (),
    lines: frozenset[tuple[str, str]] = frozenset(),
) -> None:
    """Shade one panel: stages alternate, a transition's band is strong where its lines moved.

    Args:
        ax: The panel.
        bands: The transitions.
        spans: The stages.
        marks: The events.
        lines: (metric, site) of the lines drawn on this panel.
    """
    for stage in spans:
        ax.axvspan(
            stage.start,
            stage.end,
            facecolor=STAGE_SHADE[(stage.number - 1) % 2],
            edgecolor="none",
            zorder=0,
            gid=f"stage:{stage.number}",
        )
    for index, band in enumerate(bands):
        here = bool(band.moved & lines)
        ax.axvspan(
            band.onset,
            band.end,
            facecolor=BAND if band.event is None else RECIPE_BAND,
            alpha=0.42 if here else 0.16,
            edgecolor="none",
            zorder=0.5,
            gid=f"band:{index}",
        )
        ax.axvline(
            band.midpoint,
            color=INK,
            linewidth=1.1 if here else 0.6,
            linestyle="-",
            zorder=1,
            gid=f"midpoint:{index}",
        )
    for mark in marks:
        ax.axvline(
            mark.step,
            color=FAINT,
            linewidth=0.8,
            linestyle=(0, (1, 1.5)),
            zorder=1,
            gid=f"event:{mark.kind}",
        )


def draw_strip(
    ax: Axes, bands: Sequence[Band], *, spans: Sequence[Stage], marks: Sequence[Mark] = ()
) -> None:
    """Draw the strip above the panels: stage names, each midpoint with its interval, event names.

    Args:
        ax: Axes with the panels' step scale; its own vertical axis is hidden.
        bands: The transitions.
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
    for index, band in enumerate(bands):
        if np.isfinite(band.midpoint_low) and np.isfinite(band.midpoint_high):
            ax.plot(
                [band.midpoint_low, band.midpoint_high],
                [0.22, 0.22],
                color=INK,
                linewidth=1.4,
                marker="|",
                markersize=5,
                zorder=4,
                gid=f"interval:{index}",
            )
        ax.plot([band.midpoint], [0.22], color=INK, marker="o", markersize=3.5, zorder=5)
        _above(ax, band.midpoint, f"T{index}", weight="bold", color=INK)
    taken = [_position(ax, band.midpoint) for band in bands]
    for mark in marks[:_EVENT_LABELS]:
        place = _position(ax, mark.step)
        room = 0.5 * text_width_in(mark.kind) / _width_in(ax)
        if all(abs(place - other) > room + 0.03 for other in taken):
            taken.append(place)
            _above(ax, mark.step, mark.kind.replace("_", " "), weight="normal", color=FAINT)


def _name_stage(ax: Axes, stage: Stage) -> None:
    """Write the stage's name if it fits, else its number, else nothing."""
    ends = [_position(ax, step) for step in (stage.start, stage.end)]
    room_in = (ends[1] - ends[0]) * _width_in(ax)
    for text in (f"stage {stage.number}", str(stage.number)):
        if text_width_in(text) < 0.95 * room_in:
            ax.text(
                (ends[0] + ends[1]) / 2,
                0.6,
                text,
                transform=ax.transAxes,
                ha="center",
                va="center",
                fontsize=SMALL_PT,
                color=INK,
            )
            return


def _above(ax: Axes, step: float, text: str, *, weight: str, color: str) -> None:
    ax.text(
        step,
        1.04,
        text,
        transform=ax.get_xaxis_transform(),
        ha="center",
        va="bottom",
        fontsize=SMALL_PT,
        fontweight=weight,
        color=color,
        parse_math=False,
    )


def _position(ax: Axes, step: float) -> float:
    pixel = ax.transData.transform((step, 0))
    return float(ax.transAxes.inverted().transform(pixel)[0])


def _width_in(ax: Axes) -> float:
    figure = ax.figure.get_figure(root=True)
    assert figure is not None
    return ax.get_position().width * figure.get_figwidth()
