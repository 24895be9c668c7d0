"""A matplotlib figure as SVG that stands inside an HTML page."""

from __future__ import annotations

import re
from io import StringIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.figure import Figure


def inline_svg(figure: Figure, *, label: str) -> Markup:
    """Return a figure as an ``<svg>`` element; its letters are drawn, so that it needs no font.

    Comments, metadata and the artists' own ids are removed. They hold the user's words or memory
    addresses, or they would stand in the page twice.

    Args:
        figure: A figure that nobody else needs; the ids of its artists are removed.
        label: Description for a reader who does not see the picture.
    """
    from markupsafe import Markup
    from matplotlib import rc_context

    for artist in figure.findobj():
        artist.set_gid(None)
    written = StringIO()
    with rc_context({"svg.fonttype": "path", "svg.hashsalt": "devtrack"}):
        no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(written, format="svg", metadata=no_metadata)
    text = written.getvalue()
    text = re.sub(r"<!--.*?-->", "", text[text.index("<svg") :], flags=re.DOTALL)
    start = Markup('<svg role="img" aria-label="{}"').format(label)
    return start + Markup(text.removeprefix("<svg"))
