"""A matplotlib figure as SVG that stands inside an HTML page."""

from __future__ import annotations

import re
from io import StringIO
from typing import TYPE_CHECKING

from devtrack.report._markup import Markup, element

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def inline_svg(figure: Figure, *, label: str) -> Markup:
    """Return a figure as an ``<svg>`` element; its letters are drawn, so it needs no font.

    Comments, metadata and the artists' own ids go: they hold the user's words, or addresses, or
    would stand in the page twice.

    Args:
        figure: A figure that nobody else needs; the ids of its artists are removed.
        label: What a reader who does not see the picture is told.
    """
    from matplotlib import rc_context

    for artist in figure.findobj():
        artist.set_gid(None)
    written = StringIO()
    with rc_context({"svg.fonttype": "path", "svg.hashsalt": "devtrack"}):
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(written, format="svg", metadata=nothing)
    text = written.getvalue()
    text = re.sub(r"<!--.*?-->", "", text[text.index("<svg") :], flags=re.DOTALL)
    start = element("svg", role="img", aria_label=label).removesuffix("></svg>")
    return Markup(start + text.removeprefix("<svg"))
