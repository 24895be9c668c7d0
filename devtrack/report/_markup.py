"""Builds HTML out of text that may hold anything: what is not markup is escaped, always.

A name, a message or a configuration is the user's text. ``element`` escapes every child and every
attribute; only what ``element`` itself has made (``Markup``) goes in as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape

_VOID = frozenset({"meta", "br", "wbr"})


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def element(tag: str, *children: str, **attributes: str) -> Markup:
    """Return an element with its children, one after another.

    Args:
        tag: Name of the element.
        children: ``Markup`` as it is, any other text escaped.
        attributes: Their values are escaped; ``class_`` is written ``class``.

    Example:
        >>> element("p", "a < b, ", element("b", "R&D"), class_='"x"')
        '<p class="&quot;x&quot;">a &lt; b, <b>R&amp;D</b></p>'
    """
    written = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape(value)}"'
        for name, value in attributes.items()
    )
    if tag in _VOID:
        return Markup(f"<{tag}{written}>")
    return Markup(f"<{tag}{written}>{joined(children)}</{tag}>")


def joined(parts: Iterable[str], *, by: str = "") -> Markup:
    """Return parts one after another, each escaped unless it is ``Markup``.

    Example:
        >>> joined(["<", element("b", "x")], by=", ")
        '&lt;, <b>x</b>'
    """
    return Markup(escape(by).join(p if isinstance(p, Markup) else escape(p) for p in parts))


def foldable(name: str) -> Markup:
    """Return a dotted name that may be folded after its dots, slashes and underscores only.

    Example:
        >>> foldable("probe/a<b")
        'probe/<wbr>a&lt;b'
    """
    return Markup(element("wbr").join(escape(part) for part in re.split(r"(?<=[/._])", name)))


def table(
    head: Sequence[str], rows: Iterable[Sequence[str]], *, numeric: frozenset[int] = frozenset()
) -> Markup:
    """Return a table.

    Args:
        head: Names of the columns.
        rows: Their cells.
        numeric: Columns that are set to the right, by number.
    """

    def line(tag: str, cells: Sequence[str]) -> Markup:
        made = (
            element(tag, cell, class_="n") if index in numeric else element(tag, cell)
            for index, cell in enumerate(cells)
        )
        return element("tr", *made)

    body = [line("td", row) for row in rows]
    whole = element("table", element("thead", line("th", head)), element("tbody", *body))
    return element("div", whole, class_="wide")
