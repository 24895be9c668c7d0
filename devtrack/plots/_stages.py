"""Shades a panel by what happened when: transitions, the stages between them, events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from devtrack.plots._data import moved_spans
from devtrack.plots._style import BAND, EVENT_BAND, EVENT_HATCH, FAINT, INK, STAGE_SHADE
from devtrack.series import ConfigEvent, Transition

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Stage(NamedTuple):
    """An interval between two transitions, in steps, numbered from 1."""

    number: int
    start: float
    end: float


def stages(bands: Sequence[Transition], *, first: float, last: float) -> list[Stage]:
    """Return the stages between transitions; transitions that overlap leave none between them.

    A change that coincides with an event of the training configuration divides nothing.

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
    bands: Sequence[Transition],
    *,
    spans: Sequence[Stage],
    marks: Sequence[ConfigEvent] = (),
    lines: frozenset[tuple[str, str]] = frozenset(),
) -> None:
    """Shade one panel: stages, each transition's band, and strongly where the panel's lines moved.

    The strong part reaches from the onset of the first of these lines to the end of the last. All
    is opaque, the strong above the weak: where transitions overlap, layers of transparent colour
    would add up to a shade that means nothing.

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
        moved = moved_spans(band)
        here = [moved[line] for line in lines if line in moved]
        weak, strong = BAND if band.event is None else EVENT_BAND
        hatch = None if band.event is None else EVENT_HATCH
        ax.axvspan(
            band.onset,
            band.end,
            facecolor=weak,
            edgecolor="white",
            linewidth=0,
            hatch=hatch,
            zorder=0.2,
            gid=f"band:{index}",
        )
        if here:
            ax.axvspan(
                max(band.onset, min(onset for onset, _ in here)),
                min(band.end, max(end for _, end in here)),
                facecolor=strong,
                edgecolor="white",
                linewidth=0,
                hatch=hatch,
                zorder=0.4,
                gid=f"moved:{index}",
            )
        ax.axvline(
            band.midpoint,
            color=INK if here else FAINT,
            linewidth=1.1 if here else 0.5,
            linestyle="-",
            zorder=1.1 if here else 1,
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
