"""Which curves share an axis, and what that axis and its lines are called.

Curves of one family have the same units and share a panel: all losses, the LLC, one probe, or one
user's prefix. A family of many lines is spread over several panels of at most ``MAX_LINES`` lines.
More lines cannot be distinguished and labelled. Where each metric has several sites, the panels are
divided by metric.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from math import ceil, inf
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from devtrack.plots._captions import short_sites, shorten
from devtrack.plots._lines import draw_curves
from devtrack.plots._style import FAINT, INK, SMALL_PT, TEXT_PT, drawn_width_in
from devtrack.series import Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_LINES = 6
MAX_LINES_PER_FAMILY = 48
LEAST_SITES = 3  # lines of one metric, in the mean, that deserve a panel
_LABEL_CHARS = 24
_LEAST_CHARS = 8  # of a title, however little room there is
_FORMULA = re.compile(r"(?<!\\)\$.*?(?<!\\)\$")
_FORMULA_FIRST = re.compile(r"(.*(?<!\\)\$ *)?(.*)", re.DOTALL)

_FIRST = ("loss", "accuracy", "llc", "rllc")
_TITLES = {  # what must be said, and what is said where there is room
    "llc": (r"local learning coefficient $\hat{\lambda}$", " (lower: simpler, more degenerate)"),
    "rllc": (r"refined LLC $\hat{\lambda}$", ", by part of the network"),
    "weight_norm": ("weight norm", ""),
    "lr": ("learning rate", ""),
    "accuracy": ("accuracy", " (fraction correct)"),
}


class Panel(NamedTuple):
    """The curves of one axis, the labels of its lines, and its title.

    ``title`` may hold mathtext; ``labels`` are the user's own words and never parsed as such.
    ``note`` goes on with the title where there is room.
    """

    family: str
    title: str
    curves: tuple[Series, ...]
    labels: tuple[str, ...]
    note: str = ""


def family_of(metric: str) -> str:
    """Return the family that a metric is drawn with.

    Example:
        >>> [family_of(name) for name in ("loss", "test_loss", "probe/parity/selectivity")]
        ['loss', 'loss', 'probe/parity']
        >>> [family_of(name) for name in ("llc", "accuracy/test", "attention/previous_token")]
        ['llc', 'accuracy', 'attention']
    """
    if metric.startswith("probe/"):
        return "/".join(metric.split("/")[:2])
    words = re.split(r"[/._ ]", metric)
    for family in ("loss", "accuracy"):
        if family in words:
            return family
    return re.split(r"[/.]", metric)[0]


def arrange(curves: Sequence[Series], *, moved: Collection[tuple[str, str]]) -> list[Panel]:
    """Spread curves over panels: losses first, then accuracy, LLC, probes and the rest by name.

    Args:
        curves: The curves to draw.
        moved: (metric, site) pairs that take part in a transition; in a family with more than
            ``MAX_LINES_PER_FAMILY`` lines these are drawn before others.
    """
    families: dict[str, list[Series]] = {}
    for curve in curves:
        families.setdefault(family_of(curve.metric), []).append(curve)
    panels: list[Panel] = []
    for family in sorted(families, key=_order):
        members = sorted(families[family], key=lambda curve: _natural(curve.metric, curve.site))
        panels += [p for group in _by_metric(members) for p in _panels(family, group, moved)]
    return panels


def _panels(family: str, members: list[Series], moved: Collection[tuple[str, str]]) -> list[Panel]:
    panels = []
    shown = _most_moving(members, moved)
    size = ceil(len(shown) / ceil(len(shown) / MAX_LINES))  # panels of about as many lines
    chunks = [shown[i : i + size] for i in range(0, len(shown), size)]
    for number, chunk in enumerate(chunks, start=1):
        title, note = _title(family, members)
        if len(chunks) > 1:
            title += f" ({number} of {len(chunks)})"
        if len(shown) < len(members):
            note = f": {len(shown)} of {len(members)} lines, those that moved most"
        labels = _labels(family, chunk, members)
        panels.append(Panel(family, title, tuple(chunk), labels, note))
    return panels


def _by_metric(members: list[Series]) -> list[list[Series]]:
    """Part a family that is too large for one panel by metric, if each has several sites."""
    metrics = list(dict.fromkeys(curve.metric for curve in members))
    if len(members) <= MAX_LINES or len(members) < LEAST_SITES * len(metrics):
        return [members]
    return [[curve for curve in members if curve.metric == metric] for metric in metrics]


def _order(family: str) -> tuple[int, str]:
    if family in _FIRST:
        return _FIRST.index(family), family
    return len(_FIRST) + (not family.startswith("probe/")) + (family == "lr"), family


def _natural(*names: str) -> list[str]:
    """Order ``head.2`` before ``head.10``."""
    return [re.sub(r"\d+", lambda digits: digits[0].zfill(9), name) for name in names]


def _most_moving(members: list[Series], moved: Collection[tuple[str, str]]) -> list[Series]:
    if len(members) <= MAX_LINES_PER_FAMILY:
        return members
    ranked = sorted(
        members,
        key=lambda curve: ((curve.metric, curve.site) in moved, _range(curve)),
        reverse=True,
    )
    kept = {id(curve) for curve in ranked[:MAX_LINES_PER_FAMILY]}
    return [curve for curve in members if id(curve) in kept]


def _range(curve: Series) -> float:
    ok = curve.value[curve.status == "ok"]
    return float(np.ptp(ok)) if ok.size else 0.0


def _title(family: str, members: Sequence[Series]) -> tuple[str, str]:
    note = ""
    if family.startswith("probe/"):
        name = _plain(family.removeprefix("probe/"))
        title, note = f"linear probe: {name}", " (selectivity = accuracy − control)"
    elif family in _TITLES:
        title, note = _TITLES[family]
    else:
        metrics = {curve.metric for curve in members}
        title = _plain(next(iter(metrics)) if len(metrics) == 1 else family).replace("_", " ")
    sites = {curve.site for curve in members}
    if len(sites) == 1 and sites != {"model"}:
        title += f" at {_plain(next(iter(sites)))}"
    return title, note


def _plain(text: str) -> str:
    """Return the user's words as a title has them: on one line, and no formula."""
    return " ".join(text.split()).replace("$", r"\$")


def _labels(family: str, chunk: Sequence[Series], members: Sequence[Series]) -> tuple[str, ...]:
    """Name each line by what tells it from the family's others; a lone line needs no name."""
    if len(members) == 1:
        return ("",)
    metrics = {curve.metric for curve in members}
    sites = {curve.site for curve in members}
    short = short_sites(sites - {"model"}) | {"model": "whole model"}
    labels = []
    for curve in chunk:
        parts = []
        if len(metrics) > 1:
            parts.append(_without_family(curve.metric, family))
        if len(sites) > 1:
            parts.append(short[curve.site])
        labels.append(" @ ".join(parts))
    for most in range(_LABEL_CHARS, max(map(len, labels)) + 1):
        cut = tuple(shorten(label, most=most) for label in labels)
        if len(set(cut)) == len(set(labels)):  # two lines of one name are no names
            return cut
    return tuple(" ".join(label.split()) for label in labels)


def _without_family(metric: str, family: str) -> str:
    rest = re.sub(rf"^{re.escape(family)}[/._]|[/._]{re.escape(family)}$", "", metric)
    return rest.replace("_", " ")


def draw_panel(ax: Axes, panel: Panel, *, title_room_in: float = inf) -> None:
    """Draw a panel's lines, title and ticks on axes whose step scale is set up.

    Args:
        ax: The axes.
        panel: What to draw.
        title_room_in: Inches that the title may take before it meets the next column.
    """
    from matplotlib.ticker import MaxNLocator

    draw_curves(ax, panel.curves, labels=panel.labels, log_values=panel.family == "loss")
    if ax.get_yscale() == "linear":
        ax.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
    ax.set_label(panel.family)
    unit = _unit_of_ticks(ax)
    title = panel.title + panel.note + unit
    if _title_width_in(title) > title_room_in:
        title = _fitting(panel.title, unit=unit, room_in=title_room_in)
    # y is given, or matplotlib moves the title away from what it takes to be in its way
    ax.set_title(title, loc="left", fontsize=TEXT_PT, color=INK, pad=4, y=1.0)
    ax.tick_params(labelsize=SMALL_PT, color=FAINT, labelcolor=INK)
    ax.tick_params(which="minor", color=FAINT)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(FAINT)


def _unit_of_ticks(ax: Axes) -> str:
    """Take the power of ten that the ticks leave out from above the axis, for the title.

    There it would stand in the title's place, and the title in the panel's above.

    Example: `` (×1e−15)``, `` (+1e3)``.
    """
    formatter = ax.yaxis.get_major_formatter()
    low, high = sorted(ax.get_ylim())
    formatter.set_locs([tick for tick in ax.get_yticks() if low <= tick <= high])
    ax.yaxis.get_offset_text().set_visible(False)
    offset = formatter.get_offset()
    if not offset:
        return ""
    return f" ({offset})" if offset.startswith(("+", "−", "-")) else f" (×{offset})"


def _fitting(title: str, *, unit: str, room_in: float) -> str:
    """Cut the middle out of what follows a title's formula, if any, until there is room."""
    formula, words = _FORMULA_FIRST.fullmatch(title).groups()  # pyright: ignore[reportOptionalMemberAccess]
    words = words.replace(r"\$", "$")
    for most in range(max(len(words), _LEAST_CHARS), _LEAST_CHARS - 1, -1):
        title = f"{formula or ''}{_plain(shorten(words, most=most))}{unit}"
        if _title_width_in(title) <= room_in:
            break
    return title


def _title_width_in(title: str) -> float:
    """Measure a title; a formula is about as wide as a letter."""
    text = _FORMULA.sub("m", title).replace(r"\$", "$")
    return drawn_width_in(text, size_pt=TEXT_PT)
