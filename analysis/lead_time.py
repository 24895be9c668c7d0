"""Which metrics change before a named one does, by how much, and does their time foretell its time?

    python -m analysis.lead_time --store runs --runs 'grokking-*' --target test_accuracy --out .

Takes the largest level change of the target in each run, aligns all other changes over runs, and
prints for each its lead, paired by run, with an interval over runs. The SQL stands beside this
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
from devtrack.report.formatting import number_text
from devtrack.store import Store
from devtrack.transitions.lead_time import Precursor, precursors
from devtrack.transitions.recurrence import common_axis, load_occurrences

SQL = Path(__file__).with_suffix(".sql")


def lead_time(store: Store, runs: list[RunInfo], given: argparse.Namespace) -> bool:
    """Print and draw the leads of other changes before the target's."""
    ids = [run.run_id for run in runs]
    axis = common_axis(store, ids)
    found = precursors(
        load_occurrences(store, ids),
        ids,
        target=given.target,
        axis=axis,
        site=given.site,
        direction=given.direction,
    )
    query = SQL.read_text("utf-8")
    chosen = {name: getattr(given, name) for name in ("target", "site", "direction")}
    print(f"{query}\n$runs = {ids!r}")
    print(*(f"${name} = {value!r}" for name, value in chosen.items()), "", sep="\n")
    store.sql(query, {"runs": ids, **chosen}).show(max_width=200, max_rows=200)
    if not found:
        print(
            "no change of another metric shares two runs with the target's: a lead needs several "
            "runs of one experiment",
            file=sys.stderr,
        )
        return False
    unit = "decades of (step + 1)" if axis.kind == "log" else "steps"
    least = 2.0 / 2.0 ** max(one.lead.num_runs for one in found)
    print(
        f"\nlead: in {unit}, above 0 where the change comes before the target's; [95 % t interval "
        "over runs]\np: two-sided, by flipping signs, Holm's correction; so many runs allow no p "
        f"below {least:.2g} before correction" + (" (5 runs: .06)" if least > 0.05 else "")
    )
    print(
        "r: do early runs of the one have an early target? Without it the change is merely earlier,"
        " and foretells nothing\n"
    )
    head = ("first in", "lead [95 %]", "steps", "p", "r (p)", "missed", "in vain")
    print(_line("change", *head))
    for one in found:
        print(_line(*_cells(one)))
    picture = given.out / "lead_time.png"
    plots.draw_leads(found, axis=axis, target=given.target).savefig(picture, dpi=200)
    print(f"\npicture: {picture}")
    return True


def _cells(one: Precursor) -> tuple[str, ...]:
    kind, metric, site, direction = one.change.key
    lead = one.lead
    related = "" if math.isnan(lead.correlation) else f"{lead.correlation:+.2f}"
    return (
        f"{kind} {direction} {metric}" + ("" if site == "model" else f"@{site}"),
        f"{lead.num_first}/{lead.num_runs}",
        f"{lead.mean:.3g} [{lead.low:.3g}, {lead.high:.3g}]",
        f"{one.lead_steps:.0f}",
        number_text(one.p_adjusted),
        f"{related} ({lead.correlation_p:.2g})" if related else "",
        str(one.missed),
        str(one.false_positives),
    )


def _line(*cells: str) -> str:
    first, *others = cells
    widths = (10, 26, 8, 10, 16, 8, 9)
    return f"{first:<48}" + "".join(f"{c:>{w}}" for c, w in zip(others, widths, strict=True))


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--target", required=True, help="metric whose change is to be foreseen")
    parser.add_argument("--site", help="site of that change (default: any)")
    parser.add_argument("--direction", choices=("up", "down"), help="of that change")


if __name__ == "__main__":
    sys.exit(run_comparison(lead_time, question=__doc__ or "", options=_options))
