"""A monitor that makes the schedule denser dates a transition better than the schedule alone.

    python -m experiments.densify --store runs [--seeds 5]

Each seed trains twice from the same weights on the same data: observed at ``POINTS`` steps at equal
ratios, and the same with a monitor whose alarms make the schedule six times denser for a while.
Training is bitwise the same in both, so they have one true course, and only the dates differ. The
network is that of ``devtrack demo``; it learns the sums of unordered pairs, 70 % of them for
training, with half the demo's weight decay: nothing generalises by the mere symmetry of a + b, and
the test accuracy, of all 430 test pairs, goes from 0 to 1 along one slow sigmoid of log(step).

Found (seeds 0 to 4, 2 minutes): the 90 % interval of the midpoint shrank in five of five seeds, to
.74 of its width in the median (.61 to .96; seed 0 from 1039 [926, 1173] to 1091 [990, 1167]), at 96
to 101 snapshots instead of 31: less than three times the points are worth. A slow change raises an
alarm again and again, four or five times here, and every one prolongs the dense spell. When each
still divided the spell again, there were 286 to 345 snapshots, and .20 of the width (.15 to .33) in
five of five (another version of the detector). The two dates of a seed differ by 18 to 52 steps, .4
to 1.1 standard errors of their difference.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure

from devtrack import FunctionMetric, Loss, Monitor, Tracker, find_transitions, open_store, schedules
from devtrack.cli._demo_training import ModularAddition, P, correct, one_thread
from devtrack.monitoring.actions import Densify
from devtrack.plots._style import LOOKS, TEXT_PT, WIDTH_IN
from devtrack.series import Move
from experiments.run import Batches, options, rows_of, show, train

STEPS = 2400
POINTS = 30
TRAIN_FRACTION = 0.7
TARGET = "test_accuracy"

Batch = tuple[torch.Tensor, torch.Tensor]


class Slow(ModularAddition):
    """The demo's network with half its weight decay."""

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return AdamW."""
        return torch.optim.AdamW(self.parameters(), lr=3e-3, weight_decay=0.5)


class Dated(NamedTuple):
    """One run: when its monitor spoke, how often it was observed, and the target's transition."""

    run_id: str
    alarms: list[int]
    snapshots: int
    move: Move | None

    @property
    def width(self) -> float:
        """Length of the midpoint's interval, in steps."""
        return math.nan if self.move is None else self.move.midpoint_high - self.move.midpoint_low


def unordered_pairs(*, seed: int) -> tuple[Batch, Batch]:
    """Return the training and the test part of all pairs a ≤ b with their sums modulo P."""
    pairs = torch.triu_indices(P, P).T  # (pair, 2)
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(seed))
    pairs = pairs[order]
    size = int(TRAIN_FRACTION * len(pairs))
    sums = pairs.sum(dim=1) % P
    return (pairs[:size], sums[:size]), (pairs[size:], sums[size:])


def run_once(store: str, seed: int, *, densify: bool, steps: int, points: int) -> Dated:
    """Train one run under observation and date its transition."""
    trained, test = unordered_pairs(seed=seed)
    tracker = Tracker(
        store,
        schedules.log_spaced(points, first=10, last=steps),
        name=f"densify-{seed}-{'monitor' if densify else 'alone'}",
        metrics=[Loss(name="test_loss", data=test), FunctionMetric(TARGET, correct, data=test)],
        data=[trained],
        use_loggers=False,
        seed=seed,
        monitor=Monitor(actions=[Densify(factor=6, snapshots=10)] if densify else []),
    )
    train(Slow, Batches(lambda _: trained, steps), tracker=tracker, seed=seed)
    opened, run_id = open_store(store), str(tracker.run_id)
    found = find_transitions(opened, run_id, axis="log")  # a denser schedule is no other axis
    moves = [move for one in found for move in one.moves if move.metric == TARGET]
    alarms = opened.sql(
        "SELECT DISTINCT step FROM events WHERE run_id = ? AND kind = 'alarm' ORDER BY step",
        [run_id],
    ).fetchall()
    return Dated(
        run_id,
        [step for (step,) in alarms],
        len(rows_of(store, run_id, TARGET)),
        max(moves, key=lambda m: abs(m.effect), default=None),
    )


def draw(store: str, pair: tuple[Dated, Dated], *, seed: int) -> Figure:
    """Draw the target's points and dated midpoint of both runs of a seed, one below the other."""
    figure = Figure(figsize=(WIDTH_IN, 4.2), layout="constrained")
    titles = ("the schedule alone", "with a monitor that makes it denser")
    panels = figure.subplots(2, 1, sharex=True, sharey=True, subplot_kw={"xscale": "symlog"})
    for ax, one, title, style in zip(panels, pair, titles, LOOKS, strict=False):
        step, value, se, _ = zip(*rows_of(store, one.run_id, TARGET), strict=True)
        ax.errorbar(step, value, yerr=se, fmt=style.marker, ms=3, lw=0.8, color=style.color)
        for alarm in one.alarms:
            ax.axvline(alarm, color="#222222", lw=0.8, ls=":")
        if one.move is not None:
            ax.axvspan(one.move.midpoint_low, one.move.midpoint_high, color="#ecbf6a", lw=0)
            ax.axvline(one.move.midpoint, color="#222222", lw=1.2)
        ax.set_title(f"{title}: {one.snapshots} snapshots, {_dated(one)}", fontsize=TEXT_PT)
        ax.set_ylabel("test accuracy")
    panels[-1].set_xlabel(f"optimizer step (seed {seed}; dotted: alarms)")
    return figure


def report(found: dict[int, tuple[Dated, Dated]]) -> None:
    """Print both midpoints of every seed, and by how much the intervals shrank."""
    show(
        f"midpoint of {TARGET}, with its interval",
        ("seed", "alarms", "alone", "snapshots", "denser", "snapshots", "width, ratio"),
        [
            (
                seed,
                ", ".join(map(str, dense.alarms)) or "none",
                _dated(alone),
                alone.snapshots,
                _dated(dense),
                dense.snapshots,
                dense.width / alone.width,
            )
            for seed, (alone, dense) in found.items()
        ],
    )
    ratios = np.array([dense.width / alone.width for alone, dense in found.values()])
    known = ratios[np.isfinite(ratios)]
    if known.size:
        middle = float(np.median(known))
        print(f"\nmedian ratio {middle:.2f}; shrank in {int((known < 1).sum())} of {len(found)}")


def _dated(one: Dated) -> str:
    if one.move is None:
        return "no transition"
    return f"{one.move.midpoint:.1f} [{one.move.midpoint_low:.1f}, {one.move.midpoint_high:.1f}]"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the experiment."""
    parser: argparse.ArgumentParser = options(__doc__)
    parser.add_argument("--seeds", default=1, type=int, help="how many, from --seed on")
    given = parser.parse_args(arguments)
    steps, points = (60, 12) if given.smoke else (STEPS, POINTS)
    found: dict[int, tuple[Dated, Dated]] = {}
    with one_thread():
        for seed in range(given.seed, given.seed + given.seeds):
            alone, dense = (
                run_once(given.store, seed, densify=densify, steps=steps, points=points)
                for densify in (False, True)
            )
            found[seed] = alone, dense
            picture = Path(given.store).parent / f"densify-{seed}.png"
            draw(given.store, found[seed], seed=seed).savefig(picture, dpi=150)
    report(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
