"""Which transitions recur over runs and seeds, in what share of them, and how far apart?

    python -m analysis.seed_variation --store runs --runs 'grokking-*' --out .

Aligns the transitions of the runs by kind, metric, site and direction, prints for each the share of
runs with its interval and the spread of the midpoints, and draws them. The SQL stands beside this
file.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

from analysis.command import run_comparison
from devtrack import plots
from devtrack.records import RunInfo
from devtrack.report.formatting import number_text, step_text
from devtrack.store import Store
from devtrack.transitions.recurrence import Recurring, common_axis, load_occurrences, recurring

SQL = Path(__file__).with_suffix(".sql")


def seed_variation(store: Store, runs: list[RunInfo], given: argparse.Namespace) -> bool:
    """Print and draw the transitions that recur over runs."""
    ids = [run.run_id for run in runs]
    axis = common_axis(store, ids)
    found = recurring(load_occurrences(store, ids), ids, axis=axis)
    if not found:
        print(f"no transition in any of {len(ids)} runs", file=sys.stderr)
        return False
    query = SQL.read_text("utf-8")
    print(f"{query}\n$runs = {ids!r}\n")
    store.sql(query, {"runs": ids}).show(max_width=200, max_rows=200)
    unit = "decades of (step + 1)" if axis.kind == "log" else "steps"
    print(
        f"\naligned over {len(ids)} runs; spread: standard deviation over runs, error: of one "
        f"midpoint's measurement, both in {unit}\n"
    )
    print(_line("change", "runs", "share [95 %]", "median", "from", "to", "spread", "error"))
    for one in found:
        print(_line(*_cells(one)))
    picture = given.out / "seed_variation.png"
    title = f"Transitions over {len(ids)} runs"
    plots.draw_recurring(found, axis=axis, title=title).savefig(picture, dpi=200)
    print(f"\npicture: {picture}")
    return True


def _cells(one: Recurring) -> tuple[str, ...]:
    kind, metric, site, direction = one.key
    return (
        f"{kind} {direction} {metric}" + ("" if site == "model" else f"@{site}"),
        f"{len(one.members)}/{one.num_runs}",
        f"{one.share:.2f} [{one.share_low:.2f}, {one.share_high:.2f}]",
        step_text(one.midpoint),
        step_text(one.members[0].move.midpoint),
        step_text(one.members[-1].move.midpoint),
        "" if math.isnan(one.between_run_sd) else number_text(one.between_run_sd),
        "" if math.isnan(one.measurement_se) else number_text(one.measurement_se),
    )


def _line(*cells: str) -> str:
    first, *others = cells
    widths = (7, 20, 8, 8, 8, 9, 9)
    return f"{first:<48}" + "".join(f"{c:>{w}}" for c, w in zip(others, widths, strict=True))


if __name__ == "__main__":
    sys.exit(run_comparison(seed_variation, question=__doc__ or ""))
