"""Curves in one line of letters, for a terminal."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

LEVELS = "▁▂▃▄▅▆▇█"
ASCII_LEVELS = "_.-~=+*#"
_LOG_RATIO = 30  # values that span more than this ratio are drawn on their logarithm


def letters_for(encoding: str | None) -> str:
    """Return the eight letters that a terminal of this encoding can show, from low to high.

    Example:
        >>> letters_for("utf-8"), letters_for("latin-1")
        ('▁▂▃▄▅▆▇█', '_.-~=+*#')
    """
    try:
        LEVELS.encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return ASCII_LEVELS
    return LEVELS


def curve_text(
    place: npt.NDArray[np.floating],
    value: npt.NDArray[np.floating],
    *,
    width: int,
    letters: str = LEVELS,
) -> str:
    """Draw a curve as ``width`` letters; blank where it has not begun or has ended.

    Args:
        place: Where the points are on the axis, from 0 to 1, ascending.
        value: Their values, all finite.
        width: Letters of the line, at least 1.
        letters: From low to high.

    Shapes:
        place, value: (point,).

    Example:
        >>> curve_text(np.array([0.0, 0.5, 1.0]), np.array([0.0, 1.0, 0.0]), width=5)
        '▁▅█▅▁'
        >>> curve_text(np.array([0.5]), np.array([7.0]), width=3)
        ' ▄ '
    """
    if not len(place):
        return " " * width
    if value.min() > 0 and value.max() > _LOG_RATIO * value.min():
        value = np.log(value)
    cell = cells(place, width)
    filled = np.unique(cell)
    mean = np.array([value[cell == one].mean() for one in filled])
    between = np.arange(filled[0], filled[-1] + 1)
    height = np.interp(between, filled, mean)
    low, high = value.min(), value.max()
    top = len(letters) - 1
    level = (height - low) / (high - low) * top if high > low else np.full(len(height), top // 2)
    drawn = "".join(letters[int(np.floor(one + 0.5))] for one in level)
    return " " * int(filled[0]) + drawn + " " * int(width - 1 - filled[-1])


def marks_text(place: Iterable[float], *, width: int, letter: str = "▲") -> str:
    """Mark places on a line of ``width`` letters.

    Example:
        >>> marks_text([0.0, 0.5], width=5, letter="^")
        '^ ^  '
    """
    marked = set(cells(np.array(list(place), dtype=float), width).tolist())
    return "".join(letter if cell in marked else " " for cell in range(width))


def cells(place: npt.NDArray[np.floating], width: int) -> npt.NDArray[np.int64]:
    """Return the letter in which each place lies, (point,); places outside go to the ends."""
    return np.clip(np.floor(place * (width - 1) + 0.5), 0, width - 1).astype(np.int64)
