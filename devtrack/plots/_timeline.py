"""The emergence timeline: every metric of a run over one step axis, with its transitions.

A thin strip on top names the stages and dates the transitions. Below it stands one panel per family
of metrics. All panels have the same bands, which show for each transition what else moved.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from devtrack.errors import ConfigError
from devtrack.plots._captions import caption
from devtrack.plots._data import moved_spans, read_curves, read_marks
from devtrack.plots._header import draw_strip
from devtrack.plots._layout import Page, label_room_in
from devtrack.plots._panels import arrange, draw_panel
from devtrack.plots._stages import shade, stages
from devtrack.plots._step_axis import require_axis, scale_steps
from devtrack.plots._style import TEXT_PT
from devtrack.series import ConfigEvent, Series, Transition
from devtrack.transitions.coverage import Coverage, read_coverage, read_last_coverage

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from devtrack.store import Store


def timeline(
    store: Store,
    run: str | None = None,
    *,
    axis: str = "log",
    metrics: Sequence[str] | None = None,
    sites: Sequence[str] | None = None,
    transitions: Sequence[Transition] | None = None,
) -> Figure:
    """Draw the emergence timeline of a run.

    Args:
        store: The store that holds the run.
        run: Run id or name; the newest run if None.
        axis: ``"log"`` (log10(step + 1), so that step 0 is shown) or ``"linear"``.
        metrics: Names or globs of the metrics to draw; if None all, except a learning rate that
            never changes.
        sites: Names or globs of the sites to draw; all if None.
        transitions: ``changepoints.Transition`` objects to mark; those of the run's latest analysis
            in the store if None, an empty sequence for none.

    Raises:
        UnknownRunError: The store does not hold ``run``.
        ConfigError: A bad ``axis``, a glob that matches nothing, or a run without metrics.

    Example:
        ``timeline(open_store("runs"), "grokking").savefig("timeline.png", dpi=200)``
    """
    require_axis(axis)
    from devtrack.store.readers import read_transitions

    info = store.run(run)
    curves = read_curves(store, info.run_id, metrics=metrics, sites=sites)
    if metrics is None:
        curves = [curve for curve in curves if not _is_constant_config(curve)] or curves
    if transitions is None:
        bands, coverage = (
            read_transitions(store, info.run_id),
            read_last_coverage(store, info.run_id),
        )
    else:
        bands, coverage = transitions, read_coverage(store, info.run_id)
    return draw_timeline(
        curves,
        bands=bands,
        coverage=coverage,
        marks=read_marks(store, info.run_id),
        title=f"Emergence timeline of run {info.name!r}",
        axis=axis,
    )


def draw_timeline(
    curves: Sequence[Series],
    *,
    bands: Sequence[Transition] = (),
    marks: Sequence[ConfigEvent] = (),
    title: str = "Emergence timeline",
    axis: str = "log",
    coverage: Coverage | None = None,
) -> Figure:
    """Draw the timeline of curves that are already in memory (see ``timeline``).

    Args:
        curves: At least one curve with at least one point.
        bands: Transitions to mark, in order of midpoint.
        marks: Events to mark.
        title: Heading, taken literally.
        axis: ``"log"`` or ``"linear"``.
        coverage: Which series were evaluated; shown where there are no transitions.

    Raises:
        ConfigError: No curves, or a bad ``axis``.
    """
    require_axis(axis)
    if not curves:
        raise ConfigError("curves=[]: a timeline needs at least one curve. Pass the run's metrics.")
    panels = arrange(curves, moved={key for band in bands for key in moved_spans(band)})
    page = Page(
        len(panels),
        title=title,
        bands=bands,
        coverage=coverage,
        caption=caption(curves, bands, marks),
    )
    first = min(int(curve.step.min()) for curve in curves)
    last = max(int(curve.step.max()) for curve in curves)
    for column in range(page.columns):
        members = panels[column * page.rows : (column + 1) * page.rows]
        if not members:
            continue
        label_in = max(label_room_in(panel.labels) for panel in members)
        strip = page.strip(column, label_in=label_in)
        scale_steps(strip, axis=axis, first=first, last=last)
        low, high = strip.get_xlim()
        spans = stages(bands, first=low, last=high)
        draw_strip(strip, bands, spans=spans, marks=marks)
        for row, panel in enumerate(members):
            ax = page.panel(column, row, label_in=label_in)
            scale_steps(ax, axis=axis, first=first, last=last)
            here = frozenset((curve.metric, curve.site) for curve in panel.curves)
            shade(ax, bands, spans=spans, marks=marks, lines=here)
            draw_panel(ax, panel, title_room_in=page.title_room_in)
            lowest = row == len(members) - 1
            ax.tick_params(labelbottom=lowest)
            if lowest:
                ax.set_xlabel("optimizer step", fontsize=TEXT_PT)
    return page.figure


def _is_constant_config(curve: Series) -> bool:
    return curve.metric.split("/")[0] == "lr" and bool((curve.value == curve.value[0]).all())
