"""One HTML file that says what happened in a run, and how far to trust it.

    from devtrack import open_store
    from devtrack.report import render_report

    html = render_report(open_store("runs"), "grokking")

The file needs nothing beside it: no network, no script, the pictures within.
"""

from devtrack.report.html import render_report

__all__ = ["render_report"]
