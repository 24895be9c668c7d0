"""Draws curves on one axis: points with error bars, doubtful ones hollow, missing ones at the edge.

The vertical limits follow the trusted points. One diverged estimate must not flatten the whole
curve. So a suspect point far outside sits at the edge as a hollow triangle.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from devtrack.plots._line_labels import name_lines
from devtrack.plots._style import Look, look
from devtrack.series import Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LOG_RATIO = 30  # a positive loss that falls by more than this is unreadable on a linear axis
_MARGIN = 0.08
_REACH = 0.5  # error bars and doubtful points may widen the limits by this share of the span
_EDGE = 0.035


def draw_curves(
    ax: Axes,
    curves: Sequence[Series],
    *,
    labels: Sequence[str],
    log_values: bool = False,
) -> None:
    """Draw curves that share units, each named at its right end.

    Args:
        ax: Axes whose step scale is set up.
        curves: The curves.
        labels: One name per curve; an empty one is not written.
        log_values: Use a log value axis where all trusted values are positive and span a wide
            range.
    """
    if log_values and _spans_decades(curves):
        ax.set_yscale("log", nonpositive="clip")
    low, high = _limits(ax, curves)
    ax.set_ylim(low, high)
    for index, curve in enumerate(curves):
        _draw(ax, curve, look(index), low=low, high=high)
    name_lines(ax, curves, labels)


def _spans_decades(curves: Sequence[Series]) -> bool:
    trusted = np.concatenate([curve.value[curve.status == "ok"] for curve in curves])
    return bool(trusted.size and trusted.min() > 0 and trusted.max() > _LOG_RATIO * trusted.min())


def _limits(ax: Axes, curves: Sequence[Series]) -> tuple[float, float]:
    """Return the value limits, found in the axis's own scale."""
    to_axis = ax.transScale.transform
    trusted, reached = [], []
    for curve in curves:
        ok = (curve.status == "ok") & np.isfinite(curve.value)
        doubtful = (curve.status == "suspect") & np.isfinite(curve.value)
        trusted.append(curve.value[ok])
        se = np.nan_to_num(curve.se)
        reached += [curve.value[ok] - se[ok], curve.value[ok] + se[ok], curve.value[doubtful]]
    core = np.concatenate(trusted)
    fringe = np.concatenate(reached)
    core = core if core.size else fringe
    if not core.size:
        return 0.0, 1.0
    if ax.get_yscale() == "log":
        fringe = fringe[fringe > 0]

    def scaled(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return to_axis(np.column_stack([np.ones_like(values), values]))[:, 1]

    low, high = scaled(np.array([core.min(), core.max()]))
    span = (high - low) or abs(high) or 1.0  # a constant gets an axis of its own size
    around = scaled(fringe)
    around = around[(around >= low - _REACH * span) & (around <= high + _REACH * span)]
    if around.size:
        low, high = min(low, around.min()), max(high, around.max())
    pad = _MARGIN * ((high - low) or span)
    ends = ax.transScale.inverted().transform([[1.0, low - pad], [1.0, high + pad]])[:, 1]
    return float(ends[0]), float(ends[1])


def _draw(ax: Axes, curve: Series, style: Look, *, low: float, high: float) -> None:
    ok = (curve.status == "ok") & np.isfinite(curve.value)
    inside = (curve.value >= low) & (curve.value <= high)
    doubtful = (curve.status == "suspect") & np.isfinite(curve.value)
    size = float(np.clip(26 / np.sqrt(len(curve.step)), 1.2, 4.0))
    ax.plot(  # joins trusted points only: the line never runs through a doubtful one
        curve.step[ok],
        curve.value[ok],
        color=style.color,
        linestyle=style.dash,
        linewidth=1.2,
        gid=f"line:{curve.metric}@{curve.site}",
    )
    for chosen, fill, kind in ((ok, style.color, "ok"), (doubtful & inside, "white", "suspect")):
        if chosen.any():
            ax.errorbar(
                curve.step[chosen],
                curve.value[chosen],
                yerr=np.nan_to_num(curve.se[chosen]),
                linestyle="none",
                marker=style.marker,
                markersize=size if kind == "ok" else max(size, 3.4),
                markerfacecolor=fill,
                markeredgecolor=style.color,
                markeredgewidth=0.4 if kind == "ok" else 0.9,
                zorder=3,
                gid=f"{kind}:{curve.metric}@{curve.site}",
                elinewidth=0.8,
                ecolor=style.color,
            )
    for chosen, edge, marker in (
        (doubtful & (curve.value > high), 1 - _EDGE, "^"),
        (doubtful & (curve.value < low), _EDGE, "v"),
    ):
        _at_edge(ax, curve, chosen, style, edge=edge, marker=marker, kind="outside")
    missing = ~ok & ~doubtful
    _at_edge(ax, curve, missing, style, edge=_EDGE, marker="x", kind="failed")


def _at_edge(
    ax: Axes,
    curve: Series,
    chosen: npt.NDArray[np.bool_],
    style: Look,
    *,
    edge: float,
    marker: str,
    kind: str,
) -> None:
    if chosen.any():
        ax.plot(
            curve.step[chosen],
            np.full(int(chosen.sum()), edge),
            linestyle="none",
            marker=marker,
            markersize=4.5,
            markerfacecolor="white",
            markeredgecolor=style.color,
            markeredgewidth=1.1,
            transform=ax.get_xaxis_transform(),
            clip_on=False,
            zorder=4,
            gid=f"{kind}:{curve.metric}@{curve.site}",
        )
