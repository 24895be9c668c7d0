"""What does the tracker cost, LLC aside? The same training with and without it, in turns.

    python -m experiments.bench.overhead [--steps 5000] [--pairs 3]

The training is an MLP whose width is chosen so that a step takes about 10 ms on this machine. Each
pair is one fit without and one with ``Tracker`` (default schedule; snapshots, loss, weight norm),
in alternating order; the table shows every pair and the median of the ratios, next to the tracker's
own account. Machines are noisy: look at the spread of the ratios before you believe the median.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
import time
import warnings

import torch
from lightning.pytorch import LightningModule, Trainer
from torch.utils.data import DataLoader, TensorDataset

from devtrack import Loss, Tracker, WeightNorm, open_store

BATCH = 256
FEATURES = 64
TARGET_STEP_S = 0.010


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


def fit(width: int, steps: int, tracker: Tracker | None) -> float:
    """Return the seconds of one training."""
    torch.default_generator.manual_seed(0)
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
        callbacks=[tracker] if tracker else [],
    )
    module = Mlp(width)
    start = time.perf_counter()
    trainer.fit(module, loader)
    return time.perf_counter() - start


def width_for_target() -> int:
    """Return a width at which a step takes about ``TARGET_STEP_S``."""
    width = 128
    for _ in range(8):
        # a difference: the start of a Trainer costs as much as dozens of steps
        step_s = (fit(width, 220, None) - fit(width, 20, None)) / 200
        if step_s > 0.9 * TARGET_STEP_S:
            break
        width = round(width * min(2.0, max(1.1, (TARGET_STEP_S / max(step_s, 1e-4)) ** 0.5)))
    return width


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--pairs", type=int, default=3)
    arguments = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")

    width = width_for_target()
    print(
        f"width {width}, {arguments.steps} steps, batch {BATCH}, {torch.get_num_threads()} threads"
    )
    print(f"{'pair':>4} {'without s':>10} {'with s':>8} {'ms/step':>8} {'ratio':>7}  own account")
    ratios = []
    for pair in range(arguments.pairs):
        with tempfile.TemporaryDirectory() as folder:
            tracker = Tracker(folder, metrics=[Loss(), WeightNorm()], name="overhead")
            seconds = {}
            for tracked in (False, True) if pair % 2 == 0 else (True, False):
                seconds[tracked] = fit(width, arguments.steps, tracker if tracked else None)
            query = "SELECT message FROM events WHERE kind = 'cost'"
            ((account,),) = open_store(folder).sql(query).fetchall()
        ratios.append(seconds[True] / seconds[False])
        print(
            f"{pair:>4} {seconds[False]:>10.2f} {seconds[True]:>8.2f} "
            f"{1000 * seconds[False] / arguments.steps:>8.2f} {ratios[-1]:>7.4f}  {account}"
        )
    print(f"median overhead {100 * (statistics.median(ratios) - 1):+.2f} %")


if __name__ == "__main__":
    main()
