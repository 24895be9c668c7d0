"""Stored text as a terminal may show it: a letter that steers the terminal is written out.

Somebody else's store may hold an escape sequence in a name. It would clear the screen, change the
title, or replace a line of ours.
"""

from __future__ import annotations

import re

_STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters, apart from tab and newline
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # these change the order of the letters
    "\u2028\u2029]"  # these break a line
)


def printable(text: str) -> str:
    r"""Return text with each character that steers a terminal as its escape.

    Example:
        >>> print(printable("loss\x1b[2J"), printable("a\u202eb"), printable("µ ± 1"))
        loss\x1b[2J a\u202eb µ ± 1
    """
    return _STEERING.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def json_printable(text: str) -> str:
    r"""Return JSON with the characters that steer a terminal as JSON's escapes: the same value.

    Example:
        >>> print(json_printable('{"a": "\x9b\u202e"}'))
        {"a": "\u009b\u202e"}
    """
    return _STEERING.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
