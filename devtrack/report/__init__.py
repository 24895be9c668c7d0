"""One HTML file that says what happened in a run, and how far to trust it.

    from devtrack import open_store
    from devtrack.report import render_report

    html = render_report(open_store("runs"), "grokking")

The file needs nothing beside it: no network, no script, the pictures within.
"""

from devtrack.report.formatting import interval_text, measured_text, number_text, step_text
from devtrack.report.html import render_report
from devtrack.report.summary import summarize

__all__ = [
    "interval_text",
    "measured_text",
    "number_text",
    "render_report",
    "step_text",
    "summarize",
]
