"""How a line looks: colour, dash and marker, chosen together so that each tells lines apart alone.

The colours are Okabe and Ito's (2008, "Color Universal Design"), which colour-blind readers can
distinguish. Dashes and markers do the same for a reader in grey. Sizes are for a figure 7.2 inches
wide, so that the text is still 5 points tall when a paper prints it at half width.
"""

from __future__ import annotations

from typing import Any, NamedTuple

INK = "#222222"
FAINT = "#6e6e6e"
STAGE_SHADE = ("#ffffff", "#f1f6fb")
BAND = ("#f8e2b5", "#ecbf6a")  # weak, strong: Okabe and Ito's orange on white
EVENT_BAND = ("#e4e4e4", "#c4c4c4")
EVENT_HATCH = "////"  # in grey, a grey band and an orange one are the same
WIDTH_IN = 7.2
TEXT_PT = 10.5
SMALL_PT = 9.5
_LETTER_EM = 0.53  # mean width of a letter of DejaVu Sans, matplotlib's own font


class Look(NamedTuple):
    """One line's appearance."""

    color: str
    dash: Any
    marker: str


LOOKS = (
    Look("#0072b2", "-", "o"),
    Look("#d55e00", (0, (5, 1.5)), "s"),
    Look("#009e73", (0, (1.5, 1.2)), "^"),
    Look("#9b4f80", (0, (6, 1.5, 1.5, 1.5)), "D"),
    Look("#000000", (0, (3, 1)), "v"),
    Look("#3a9bd1", (0, (9, 2)), "P"),
)
"""The reddish purple and the sky blue are a shade darker than Okabe and Ito's, for thin lines."""


def look(index: int) -> Look:
    """Return the appearance of the ``index``-th line of a panel."""
    return LOOKS[index % len(LOOKS)]


def text_width_in(text: str, *, size_pt: float = SMALL_PT) -> float:
    """Estimate the width of a text in inches, without a renderer."""
    return len(text) * size_pt * _LETTER_EM / 72


def drawn_width_in(text: str, *, size_pt: float = SMALL_PT) -> float:
    """Measure a text in inches by its letters' own widths; slower than ``text_width_in``."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    font = get_font(findfont(FontProperties()))
    font.set_size(size_pt, 72)
    glyphs = (font.load_glyph(font.get_char_index(ord(letter))) for letter in text)
    return sum(glyph.linearHoriAdvance for glyph in glyphs) / 65536 / 72
