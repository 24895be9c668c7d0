"""What does the tracker cost, LLC aside? The same training with and without it, in turns.

    python -m experiments.bench.overhead [--steps 10000] [--pairs 3]

The training is an MLP whose width is chosen so that a step takes about 10 ms on this machine. Each
pair is one fit without and one with ``Tracker`` (default schedule; snapshots, loss, weight norm).
The two fits of a pair run in two threads that take turns of 25 steps, one at a time, so that a
machine that becomes slower for a while is slow for both; a fit's time is the time that it held its
turn, from the start of ``fit`` to its return.

``total`` is the plain ratio of those times. On a shared machine it scatters by several percent, so
it is taken apart: ``per step``, what the hooks cost, is the median ratio of adjacent turns without
an observation; ``waited`` is the time that the tracker itself says training waited for it (opening,
observing, closing) over the time without it. Their sum is reported; believe it when ``total``
scatters around it.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
import threading
import time
import warnings
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.utils.data import DataLoader, TensorDataset

from devtrack import Loss, Tracker, WeightNorm, open_store

BATCH = 256
FEATURES = 64
TARGET_STEP_S = 0.010
STEPS_PER_TURN = 25


class Mlp(LightningModule):
    """Regression through two hidden layers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(FEATURES, width),
            torch.nn.ReLU(),
            torch.nn.Linear(width, width),
            torch.nn.ReLU(),
            torch.nn.Linear(width, 1),
        )

    def training_step(self, batch: tuple[torch.Tensor, ...], batch_idx: int) -> torch.Tensor:
        """Return the mean squared error."""
        x, y = batch
        return torch.nn.functional.mse_loss(self.layers(x), y)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adam."""
        return torch.optim.Adam(self.parameters(), lr=1e-4)


class Turn(Callback):
    """Lets one of two fits go on while the other waits, and counts the time that each had.

    Args:
        mine: Free when this fit may go on.
        other: Freed to let the other go on.
    """

    def __init__(self, mine: threading.Semaphore, other: threading.Semaphore) -> None:
        self.turns: list[float] = []
        self._mine, self._other = mine, other
        self._since = 0.0

    def take(self) -> None:
        """Wait until it is this fit's turn."""
        self._mine.acquire()
        self._since = time.perf_counter()

    def give(self) -> None:
        """Let the other go on."""
        self.turns.append(time.perf_counter() - self._since)
        self._other.release()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Change turns."""
        if trainer.global_step % STEPS_PER_TURN == 0:
            self.give()
            self.take()


def fit(width: int, steps: int, callbacks: list[Callback]) -> float:
    """Return the seconds of one training."""
    x = torch.randn(4096, FEATURES)
    loader = DataLoader(TensorDataset(x, x[:, :1] * x[:, 1:2]), batch_size=BATCH, shuffle=True)
    trainer = Trainer(
        max_steps=steps,
        max_epochs=-1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=callbacks,
    )
    module = Mlp(width)
    start = time.perf_counter()
    trainer.fit(module, loader)
    return time.perf_counter() - start


def fit_in_turns(width: int, steps: int, tracker: Tracker) -> tuple[list[float], list[float]]:
    """Return the seconds of each turn of a training without the tracker, and with it."""
    first, second = threading.Semaphore(1), threading.Semaphore(0)
    without, with_it = Turn(first, second), Turn(second, first)

    def run(turn: Turn, callbacks: list[Callback]) -> None:
        turn.take()
        fit(width, steps, [*callbacks, turn])
        turn.give()

    other = threading.Thread(target=run, args=(with_it, [tracker]))
    other.start()
    run(without, [])
    other.join()
    return without.turns, with_it.turns


def account(folder: str) -> tuple[float, set[int]]:
    """Return the seconds that training waited, by the tracker's account, and the observed steps."""
    store = open_store(folder)
    query = "SELECT (attrs->>'elapsed_s')::DOUBLE FROM events WHERE kind = 'cost'"
    ((waited_s,),) = store.sql(query).fetchall()
    return waited_s, {step for (step,) in store.sql("SELECT DISTINCT step FROM metrics").fetchall()}


def width_for_target() -> int:
    """Return a width at which a step takes about ``TARGET_STEP_S``."""
    width = 128
    for _ in range(8):
        # a difference: the start of a Trainer costs as much as dozens of steps
        step_s = (fit(width, 220, []) - fit(width, 20, [])) / 200
        if step_s > 0.9 * TARGET_STEP_S:
            break
        width = round(width * min(2.0, max(1.1, (TARGET_STEP_S / max(step_s, 1e-4)) ** 0.5)))
    return width


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=10000)
    parser.add_argument("--pairs", type=int, default=3)
    arguments = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")

    width = width_for_target()
    print(
        f"width {width}, {arguments.steps} steps, batch {BATCH}, {torch.get_num_threads()} threads"
    )
    print(
        f"{'pair':>4} {'without s':>10} {'with s':>8} {'ms/step':>8} {'total':>8} {'per step':>9} "
        f"{'waited':>8} {'sum':>8} {'observations':>13}"
    )
    sums = []
    for pair in range(arguments.pairs):
        with tempfile.TemporaryDirectory() as folder:
            tracker = Tracker(folder, metrics=[Loss(), WeightNorm()], name="overhead")
            without, with_it = fit_in_turns(width, arguments.steps, tracker)
            waited_s, observed = account(folder)
        total = sum(with_it) / sum(without) - 1
        quiet = [
            after / before
            for turn, (before, after) in enumerate(zip(without, with_it, strict=True))
            if 0 < turn < len(with_it) - 1
            and observed.isdisjoint(range(turn * STEPS_PER_TURN, (turn + 1) * STEPS_PER_TURN + 1))
        ]
        per_step = statistics.median(quiet) - 1
        waited = waited_s / sum(without)
        sums.append(per_step + waited)
        print(
            f"{pair:>4} {sum(without):>10.2f} {sum(with_it):>8.2f} "
            f"{1000 * sum(without) / arguments.steps:>8.2f} {total:>+8.2%} {per_step:>+9.2%} "
            f"{waited:>+8.2%} {sums[-1]:>+8.2%} {len(observed):>13}",
            flush=True,
        )
    print(f"median overhead {statistics.median(sums):+.2%}")


if __name__ == "__main__":
    main()
