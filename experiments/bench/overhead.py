"""What does the tracker cost, LLC aside? The same training with and without it, in turns.

    python -m experiments.bench.overhead [--steps 10000] [--rounds 4]

The training is an MLP whose width is chosen so that a step takes about 10 ms on this machine. A
round is three fits, two without and one with ``Tracker`` (default schedule; snapshots, loss, weight
norm), in three threads that take turns of 25 steps, one at a time, so that a machine that becomes
slower for a while is slow for all. A fit's time is the time that it held its turn, from the start
of ``fit`` to its return. Who goes first changes from round to round.

``with it`` is the time of the tracked fit over the mean of the two others, ``null`` that of one of
them over the other: where it scatters by 3 %, so does ``with it``, and neither tells 1 from 2 %.
``inside`` can: the time that training spent in the tracker's hooks, the opening, every step, the
observations and the closing, over the time without it. Believe it when ``with it`` scatters around
it by no more than ``null`` does around zero.

Results: ``experiments/bench/results/overhead.md``.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import statistics
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Sequence
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
    """Lets one of several fits go on while the others wait, and counts the time that each had.

    Args:
        mine: Free when this fit may go on.
        other: Freed to let the next go on.
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
        """Let the next go on."""
        self.turns.append(time.perf_counter() - self._since)
        self._other.release()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Change turns."""
        if trainer.global_step % STEPS_PER_TURN == 0:
            self.give()
            self.take()


def fit(width: int, steps: int, callbacks: list[Callback]) -> None:
    """Train once."""
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
    trainer.fit(Mlp(width), loader)


def fit_in_turns(
    width: int, steps: int, fits: Sequence[list[Callback]], *, first: int
) -> list[list[float]]:
    """Return the seconds of each turn of trainings that differ by their callbacks only.

    Args:
        width: Of the network.
        steps: Of each training.
        fits: The callbacks of each.
        first: Index of the one that begins.
    """
    free = [threading.Semaphore(number == first) for number in range(len(fits))]
    turns = [Turn(mine, other) for mine, other in zip(free, [*free[1:], free[0]], strict=True)]

    def run(callbacks: list[Callback], turn: Turn) -> None:
        turn.take()
        fit(width, steps, [*callbacks, turn])
        turn.give()

    # all in threads of their own: the main thread's memory is handed out by other rules
    threads = [threading.Thread(target=run, args=each) for each in zip(fits, turns, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [turn.turns for turn in turns]


def time_hooks(callback: Callback) -> list[float]:
    """Return a list that grows by the seconds of every call of a hook of the callback."""
    spent: list[float] = []

    def timed(hook: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            answer = hook(*args, **kwargs)
            spent.append(time.perf_counter() - start)
            return answer

        return call

    for name in dir(Callback):
        if name.startswith("on_") or name in ("setup", "teardown"):
            setattr(callback, name, timed(getattr(callback, name)))
    return spent


class StepTimes(Callback):
    """Notes when each step ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note the time."""
        self.ends.append(time.perf_counter())


def width_for_target() -> int:
    """Return a width at which a step takes ``TARGET_STEP_S``, within 10 % where noise allows."""
    width = 128
    for _ in range(8):
        times = StepTimes()
        fit(width, 300, [times])
        step_s = statistics.median(b - a for a, b in itertools.pairwise(times.ends))
        if abs(step_s / TARGET_STEP_S - 1) < 0.1:
            break
        width = round(width * min(2.0, max(0.5, (TARGET_STEP_S / step_s) ** 0.5)))
    return width


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=10000)
    parser.add_argument("--rounds", type=int, default=4)
    arguments = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")

    width = width_for_target()
    print(
        f"width {width}, {arguments.steps} steps, batch {BATCH}, {torch.get_num_threads()} threads"
    )
    print(
        f"{'round':>5} {'without s':>10} {'ms/step':>8} {'null':>8} {'with it':>8} {'inside':>8} "
        f"{'observations':>13}"
    )
    inside = []
    for number in range(arguments.rounds):
        with tempfile.TemporaryDirectory() as folder:
            tracker = Tracker(folder, metrics=[Loss(), WeightNorm()], name="overhead")
            spent = time_hooks(tracker)
            turns = fit_in_turns(
                width, arguments.steps, [[], [tracker], [Callback()]], first=number % 3
            )
            count = "SELECT count(DISTINCT step) FROM metrics"
            ((observations,),) = open_store(folder).sql(count).fetchall()
        before, with_it, after = (sum(each) for each in turns)
        without = (before + after) / 2
        inside.append(sum(spent) / without)
        print(
            f"{number:>5} {without:>10.2f} {1000 * without / arguments.steps:>8.2f} "
            f"{after / before - 1:>+8.2%} {with_it / without - 1:>+8.2%} {inside[-1]:>+8.2%} "
            f"{observations:>13}",
            flush=True,
        )
    print(f"median inside the tracker {statistics.median(inside):+.2%}")


if __name__ == "__main__":
    main()
