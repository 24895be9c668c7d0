"""Pictures of a run: the emergence timeline, one metric, the sampling chains behind an estimate.

Every function returns a matplotlib ``Figure`` that belongs to nobody (no pyplot, no global state)::

    from devtrack import open_store, plots

    plots.timeline(open_store("runs"), "grokking").savefig("timeline.png", dpi=200)
"""

from devtrack.plots._chains import chains, draw_chains
from devtrack.plots._metric import metric
from devtrack.plots._timeline import draw_timeline, timeline
from devtrack.plots.across_runs import draw_leads, draw_recurring
from devtrack.plots.calibration import draw_calibration

__all__ = [
    "chains",
    "draw_calibration",
    "draw_chains",
    "draw_leads",
    "draw_recurring",
    "draw_timeline",
    "metric",
    "timeline",
]
