"""The horizontal axis: optimizer steps, on a scale that shows step 0.

Training moves fast early and slowly late, so steps are shown on log10(step + 1). That is the
ordinary log axis from step 10 on, with step 0 at its left end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from devtrack.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STEP_SCALES = ("log", "linear")
_MIN_TICKS = 3


def require_axis(axis: str) -> None:
    """Refuse a scale that is not one of ``STEP_SCALES``.

    Raises:
        ConfigError: ``axis`` is neither ``"log"`` nor ``"linear"``.
    """
    if axis not in STEP_SCALES:
        raise ConfigError(f"axis={axis!r}: must be 'log' or 'linear'. Use axis='log'.")


def scale_steps(ax: Axes, *, axis: str, first: float, last: float) -> None:
    """Give ``ax`` its step scale, limits and ticks.

    Args:
        ax: The axes to set up.
        axis: ``"log"`` for log10(step + 1), ``"linear"`` for plain steps.
        first: Smallest step to show.
        last: Largest step to show.

    Raises:
        ConfigError: ``axis`` is neither ``"log"`` nor ``"linear"``.
    """
    from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

    require_axis(axis)
    if axis == "log":
        ax.set_xscale("function", functions=(squeeze, stretch))
        low, high = squeeze(np.array([first, last], dtype=float))
        pad = 0.02 * (high - low) or 0.05
        ax.set_xlim(*stretch(np.array([low - pad, high + pad])))
        major, minor = log_ticks(first, last)
        if major:
            ax.xaxis.set_major_locator(FixedLocator(major))
            ax.xaxis.set_minor_locator(FixedLocator(minor))
        else:
            ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    else:
        pad = 0.02 * (last - first) or 0.5
        ax.set_xlim(first - pad, last + pad)
        ax.xaxis.set_major_locator(MaxNLocator(7, integer=True))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda step, _: tick_text(step)))


def squeeze(step: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return log10(step + 1).

    Example:
        >>> squeeze([0, 9, 999]).round(3).tolist()
        [0.0, 1.0, 3.0]
    """
    return np.log10(np.maximum(np.asarray(step, dtype=float), -0.9) + 1)


def stretch(position: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return the step at a position: the inverse of ``squeeze``."""
    return 10 ** np.asarray(position, dtype=float) - 1


def log_ticks(first: float, last: float) -> tuple[list[float], list[float]]:
    """Return labelled and unlabelled ticks between two steps, both empty if the range is narrow.

    Example:
        >>> log_ticks(0, 2000)[0]
        [0.0, 1.0, 10.0, 100.0, 1000.0]
        >>> log_ticks(300, 4000)[0]
        [500.0, 1000.0, 2000.0]
        >>> log_ticks(9000, 9900)
        ([], [])
    """
    decades = 10.0 ** np.arange(0, max(np.ceil(np.log10(max(last, 1))), 0) + 1)
    for multiples in ((1,), (1, 2, 5)):
        ticks = [0.0, *np.outer(decades, multiples).ravel()]
        major = [float(tick) for tick in ticks if first <= tick <= last]
        if len(major) >= _MIN_TICKS:
            fine = np.outer(decades, np.arange(1, 10)).ravel()
            minor = [float(tick) for tick in fine if first <= tick <= last and tick not in major]
            return major, minor
    return [], []


def tick_text(step: float) -> str:
    """Write a step as a tick is labelled: 500, 10k, 1.5M.

    Example:
        >>> [tick_text(step) for step in (0, 500, 1000, 2500, 10_000, 1_500_000)]
        ['0', '500', '1000', '2500', '10k', '1.5M']
    """
    step = round(step)
    for size, suffix in ((1_000_000, "M"), (1_000, "k")):
        if abs(step) >= max(size, 10_000) and step % (size // 100) == 0:
            return f"{step / size:g}{suffix}"
    return str(step)
