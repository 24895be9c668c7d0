"""One metric along a run, on one axis, with the run's transitions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from devtrack.errors import ConfigError
from devtrack.plots._captions import caption
from devtrack.plots._data import moved_spans, read_curves, read_marks
from devtrack.plots._header import draw_strip
from devtrack.plots._layout import Page, label_room_in
from devtrack.plots._panels import MAX_LINES, arrange, draw_panel
from devtrack.plots._stages import shade, stages
from devtrack.plots._step_axis import require_axis, scale_steps
from devtrack.plots._style import TEXT_PT
from devtrack.series import Transition

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from devtrack.store import Store


def metric(
    store: Store,
    run: str | None = None,
    *,
    metric: str,
    sites: Sequence[str] | None = None,
    axis: str = "log",
    transitions: Sequence[Transition] | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Draw one metric of a run, or several that share units (``"probe/parity/*"``).

    Args:
        store: The store that holds the run.
        run: Run id or name; the newest run if None.
        metric: Name or glob; what it matches must belong to one family, at most six lines.
        sites: Names or globs of sites; all if None.
        axis: ``"log"`` or ``"linear"`` steps.
        transitions: As in ``timeline``.
        ax: Axes of your own to draw on, whose figure is returned; a new figure with title, stages
            and caption if None.

    Raises:
        UnknownRunError: The store does not hold ``run``.
        ConfigError: A bad ``axis``, a glob that matches nothing, or more than one axis can show.
    """
    require_axis(axis)
    from devtrack.store.readers import read_transitions

    info = store.run(run)
    curves = read_curves(store, info.run_id, metrics=[metric], sites=sites)
    bands = read_transitions(store, info.run_id) if transitions is None else transitions
    marks = read_marks(store, info.run_id)
    panels = arrange(curves, moved={key for band in bands for key in moved_spans(band)})
    if len(panels) > 1:
        raise ConfigError(
            f"metric={metric!r}: {len(curves)} lines do not fit on one axis, which shows up to "
            f"{MAX_LINES} of one family. Narrow it with sites=, or use timeline(metrics=[…])."
        )
    (panel,) = panels
    first = min(int(curve.step.min()) for curve in curves)
    last = max(int(curve.step.max()) for curve in curves)
    strip = None
    if ax is None:
        page = Page(
            1,
            title=f"{metric} of run {info.name!r}",
            bands=bands,
            caption=caption(curves, bands, marks),
        )
        strip = page.strip(0, label_in=label_room_in(panel.labels))
        scale_steps(strip, axis=axis, first=first, last=last)
        ax = page.panel(0, 0, label_in=label_room_in(panel.labels))
    scale_steps(ax, axis=axis, first=first, last=last)
    low, high = ax.get_xlim()
    spans = stages(bands, first=low, last=high)
    if strip is not None:
        draw_strip(strip, bands, spans=spans, marks=marks)
    shade(ax, bands, spans=spans, marks=marks, lines=frozenset((c.metric, c.site) for c in curves))
    draw_panel(ax, panel)
    ax.set_xlabel("optimizer step", fontsize=TEXT_PT)
    figure = ax.figure.get_figure(root=True)
    assert figure is not None
    return figure
