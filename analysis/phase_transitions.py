"""When did the structure of a run change, what moved, and what moved first?

    python -m analysis.phase_transitions --store runs --run grokking --out .

Finds the transitions of the run, prints the series that took part in each by their midpoints, and
draws those series. The SQL stands beside this file.
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


def phase_transitions(store: Store, run: RunInfo, out: Path) -> bool:
    """Print and draw the transitions of a run."""
    found = find_transitions(store, run.run_id)
    if not found:
        print(f"no transition in run {run.name!r}", file=sys.stderr)
        return False
    query = SQL.read_text("utf-8")
    print(f"{query}\n$run_id = {run.run_id!r}\n")
    store.sql(query, {"run_id": run.run_id}).show(max_width=200, max_rows=100)
    moved = sorted({move.metric for one in found for move in one.moves})
    picture = out / "phase_transitions.png"
    plots.timeline(store, run.run_id, metrics=moved, transitions=found).savefig(picture, dpi=200)
    print(f"\npicture: {picture}")
    return True


if __name__ == "__main__":
    sys.exit(run_study(phase_transitions, question=__doc__ or ""))
