"""Through which stages did a run go, and what had each metric become by the end of each?

    python -m analysis.emergence_timeline --store runs --run grokking --out .

Draws the emergence timeline with the transitions of the run, and prints every metric's last
trusted number in each stage. The SQL stands beside this file.
"""

from __future__ import annotations

import sys
from pathlib import Path

from analysis.command import run_study
from devtrack import plots
from devtrack.records import RunInfo
from devtrack.store import Store
from devtrack.transitions.detection import find_transitions

SQL = Path(__file__).with_suffix(".sql")


def emergence_timeline(store: Store, run: RunInfo, out: Path) -> bool:
    """Print the stages of a run and draw its timeline."""
    found = find_transitions(store, run.run_id)
    query = SQL.read_text("utf-8")
    print(f"{query}\n$run_id = {run.run_id!r}\n")
    store.sql(query, {"run_id": run.run_id}).show(max_width=200, max_rows=200)
    picture = out / "emergence_timeline.png"
    plots.timeline(store, run.run_id, transitions=found).savefig(picture, dpi=200)
    print(f"\npicture: {picture}")
    return True


if __name__ == "__main__":
    sys.exit(run_study(emergence_timeline, question=__doc__ or ""))
