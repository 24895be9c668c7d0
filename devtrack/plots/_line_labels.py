"""Names lines at their right ends, beside the axes, so that no legend has to be looked up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from devtrack.plots._style import FAINT, INK, SMALL_PT, look
from devtrack.series import Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.transforms import Transform

_HIGHEST = 0.95  # share of the axes' height: a name above would meet the panel's title


def name_lines(ax: Axes, curves: Sequence[Series], labels: Sequence[str]) -> None:
    """Write each name beside its line's last trusted point, moved apart where they overlap."""
    figure = ax.figure.get_figure(root=True)
    assert figure is not None
    height_pt = ax.get_position().height * figure.get_figheight() * 72
    named = []
    for index, (curve, label) in enumerate(zip(curves, labels, strict=True)):
        if label:
            named.append((_end_height(ax, curve), index, label))
    named.sort()
    wanted = np.array([height for height, _, _ in named]) / _HIGHEST
    gap = SMALL_PT * 1.12 / height_pt / _HIGHEST
    for (end, index, label), place in zip(named, _HIGHEST * spread(wanted, gap=gap)):
        style = look(index)
        ax.annotate(
            "",
            xy=(1.0, end),
            xycoords="axes fraction",
            xytext=(1.0, place),
            textcoords=_beside(ax, 8),
            arrowprops={
                "arrowstyle": "-",
                "color": FAINT,
                "linewidth": 0.5,
                "shrinkA": 0,
                "shrinkB": 0,
            },
        )
        ax.plot(
            [1.0],
            [place],
            marker=style.marker,
            markersize=4.2,
            color=style.color,
            transform=_beside(ax, 11),
            linestyle="none",
            clip_on=False,
        )
        ax.text(
            1.0,
            place,
            label,
            va="center_baseline",
            fontsize=SMALL_PT,
            color=INK,
            parse_math=False,
            transform=_beside(ax, 16),
        )


def _beside(ax: Axes, offset_pt: float) -> Transform:
    """Return axes coordinates shifted to the right by a number of points."""
    from matplotlib.transforms import ScaledTranslation

    figure = ax.figure.get_figure(root=True)
    assert figure is not None
    return ax.transAxes + ScaledTranslation(offset_pt / 72, 0, figure.dpi_scale_trans)


def _end_height(ax: Axes, curve: Series) -> float:
    finite = np.flatnonzero((curve.status == "ok") & np.isfinite(curve.value))
    if not finite.size:
        return 0.0
    last = finite[-1]
    pixel = ax.transData.transform((curve.step[last], curve.value[last]))
    return float(np.clip(ax.transAxes.inverted().transform(pixel)[1], 0, 1))


def spread(wanted: npt.NDArray[np.float64], *, gap: float) -> npt.NDArray[np.float64]:
    """Move ascending heights apart by at least ``gap``, as little as possible, within 0 to 1.

    Heights that do not fit at that gap share the room evenly.

    Example:
        >>> spread(np.array([0.5, 0.5]), gap=0.2).round(2).tolist()
        [0.4, 0.6]
        >>> spread(np.array([0.0, 0.0, 0.9]), gap=0.2).round(2).tolist()
        [0.0, 0.2, 0.9]
    """
    count = len(wanted)
    if count < 2:
        return wanted
    gap = min(gap, 1 / (count - 1))
    blocks = [[float(height), 1] for height in wanted - gap * np.arange(count)]  # (mean, size)
    merged: list[list[float]] = []
    for block in blocks:  # pool adjacent violators: isotonic regression of the shifted heights
        merged.append(block)
        while len(merged) > 1 and merged[-2][0] > merged[-1][0]:
            mean, size = merged.pop()
            other, count_other = merged.pop()
            total = size + count_other
            merged.append([(mean * size + other * count_other) / total, total])
    shifted = np.concatenate([np.full(int(size), mean) for mean, size in merged])
    shifted = np.clip(shifted, 0, 1 - gap * (count - 1))
    return np.asarray(shifted + gap * np.arange(count), dtype=np.float64)
