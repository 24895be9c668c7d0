"""Where things stand on a page of panels, in inches: columns of panels under a strip each."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from textwrap import wrap
from typing import TYPE_CHECKING, Any, NamedTuple

from devtrack.plots._captions import shorten, summary
from devtrack.plots._style import INK, SMALL_PT, TEXT_PT, WIDTH_IN, text_width_in
from devtrack.series import Transition
from devtrack.transitions.coverage import Coverage

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS = ((9, 1), (24, 2))  # up to so many panels in so many columns; three beyond
_TITLE_SHARE = 0.68  # letters of the bold title in the room of so many small ones
_NARROWER = 0.6  # a column's width where there are several


class _Inches(NamedTuple):
    """Lengths of a page, in inches."""

    panel: float = 1.05
    title: float = 0.3  # above each panel
    strip: float = 0.34  # the stages above a column
    top: float = 0.84
    left: float = 0.75
    axis: float = 0.6  # step axis below the panels
    line: float = 0.172  # of the caption
    edge: float = 0.15
    label_gap: float = 0.3  # axes to a line's name, and from there to the column's edge


_INCHES = _Inches()


class Page:
    """A figure with room for a number of panels.

    Args:
        panel_count: How many panels.
        title: Bold first line, taken literally.
        bands: The transitions that the second line dates.
        caption: Text below, wrapped to the page's width.
        coverage: Which series were evaluated; the second line says so where there are no
            transitions.
    """

    def __init__(
        self,
        panel_count: int,
        *,
        title: str,
        caption: str,
        bands: Sequence[Transition] = (),
        coverage: Coverage | None = None,
    ) -> None:
        from matplotlib.figure import Figure

        self.columns = next((count for most, count in _COLUMNS if panel_count <= most), 3)
        self.rows = ceil(panel_count / self.columns)
        self._column_in = WIDTH_IN if self.columns == 1 else _NARROWER * WIDTH_IN
        width_in = self.columns * self._column_in
        letter_in = text_width_in("m", size_pt=SMALL_PT)
        most_chars = int((width_in - 2 * _INCHES.edge) / letter_in)
        lines = wrap(caption, most_chars)
        tall_in = _INCHES.top + _INCHES.strip + self.rows * (_INCHES.title + _INCHES.panel)
        self.title_room_in = self._column_in - _INCHES.left - _INCHES.edge
        """Inches from a panel's left edge to the next column."""
        self.figure: Figure = Figure(
            figsize=(width_in, tall_in + _INCHES.axis + len(lines) * _INCHES.line),
            facecolor="white",
        )
        title = shorten(title, most=int(_TITLE_SHARE * most_chars))
        self._write(title, top_in=0.12, fontsize=TEXT_PT + 2, fontweight="bold")
        found = summary(bands, most_chars=most_chars, coverage=coverage)
        self._write(found, top_in=0.36, fontsize=SMALL_PT)
        self._write("\n".join(lines), top_in=tall_in + 0.52, fontsize=SMALL_PT, linespacing=1.2)

    def strip(self, column: int, *, label_in: float) -> Axes:
        """Add the strip above a column, leaving ``label_in`` inches for names on the right."""
        return self._axes(column, top_in=_INCHES.top, tall_in=_INCHES.strip, label_in=label_in)

    def panel(self, column: int, row: int, *, label_in: float) -> Axes:
        """Add the axes of a panel, leaving ``label_in`` inches for names on the right."""
        top_in = _INCHES.top + _INCHES.strip + row * (_INCHES.title + _INCHES.panel) + _INCHES.title
        return self._axes(column, top_in=top_in, tall_in=_INCHES.panel, label_in=label_in)

    def _axes(self, column: int, *, top_in: float, tall_in: float, label_in: float) -> Axes:
        wide, tall = self.figure.get_size_inches()
        width_in = self._column_in - _INCHES.left - label_in - _INCHES.label_gap
        left_in = column * self._column_in + _INCHES.left
        return self.figure.add_axes(
            (left_in / wide, 1 - (top_in + tall_in) / tall, width_in / wide, tall_in / tall)
        )

    def _write(self, text: str, *, top_in: float, **font: Any) -> None:
        wide, tall = self.figure.get_size_inches()
        self.figure.text(
            _INCHES.edge / wide,
            1 - top_in / tall,
            text,
            va="top",
            color=INK,
            parse_math=False,
            **font,
        )


def label_room_in(labels: Sequence[str]) -> float:
    """Return the width of the widest name, in inches, with some room for wide letters."""
    return 1.06 * max((text_width_in(label) for label in labels), default=0.0)
