"""How far are estimates of the learning coefficient from values that are known exactly?

    python -m analysis.llc_accuracy --store runs [--runs 'deep_linear*'] --out .

Exact values come from experiments that know them
(``experiments.deep_linear``, ``experiments.superposition``). The SQL stands beside this file.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.command import run_comparison
from devtrack.plots._style import look
from devtrack.records import RunInfo
from devtrack.store import Store

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SQL = Path(__file__).with_suffix(".sql")


def llc_accuracy(store: Store, runs: list[RunInfo], given: argparse.Namespace) -> bool:
    """Print and draw estimates against exact values."""
    query, ids = SQL.read_text("utf-8"), [info.run_id for info in runs]
    found = store.sql(query, {"runs": ids})
    lines = [dict(zip(found.columns, line, strict=True)) for line in found.fetchall()]
    if not any(line["ok"] for line in lines):
        print(
            "none of these runs has a trusted LLC beside an exact one (metric 'llc/exact')",
            file=sys.stderr,
        )
        return False
    print(f"{query}\n$runs = {ids!r}\n")
    found.show(max_width=200, max_rows=200)
    picture = given.out / "llc_accuracy.png"
    draw(lines).savefig(picture, dpi=200)
    print(f"\npicture: {picture}")
    return True


def draw(lines: Sequence[dict[str, Any]]) -> Figure:
    """Draw the relative error over the exact value, one look a run.

    Args:
        lines: Rows of the query.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    ax = figure.subplots()
    trusted = [line for line in lines if line["ok"]]
    for index, (run, group) in enumerate(groupby(trusted, key=lambda line: line["run"])):
        points, style = list(group), look(index)
        ax.errorbar(
            [line["exact"] for line in points],
            [100 * line["error"] for line in points],
            yerr=[100 * (line["spread"] or 0) / line["exact"] for line in points],
            marker=style.marker,
            color=style.color,
            linestyle="none",
            capsize=3,
            label=run,
        )
    ax.axhline(0, color="0.4", linewidth=1)
    ax.set_xlabel(r"exact learning coefficient $\lambda$")
    ax.set_ylabel("error of the estimate (%)")
    ax.set_title(
        "Error of the LLC where the exact value is known\n"
        "points: mean of a run's trusted estimates; bars: their standard deviation",
        loc="left",
        fontsize=9,
    )
    ax.legend(frameon=False, fontsize=8, title="run", title_fontsize=8)
    return figure


if __name__ == "__main__":
    sys.exit(run_comparison(llc_accuracy, question=__doc__ or ""))
