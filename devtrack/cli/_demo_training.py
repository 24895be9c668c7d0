"""The demonstration: a small network that groks modular addition, observed while it does so.

It memorizes its training pairs within a few hundred steps. It generalizes much later, when weight
decay has made memorizing more expensive than the periodic solution. Source: Power et al. 2022
(arXiv:2201.02177); Nanda et al. 2023 (arXiv:2301.05217).
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn
from torch.utils.data import DataLoader, Dataset

from devtrack import plots
from devtrack.metrics.function import FunctionMetric
from devtrack.metrics.llc import LLC
from devtrack.metrics.loss import Loss
from devtrack.metrics.metric import Metric
from devtrack.metrics.probing.linear import LinearProbe
from devtrack.metrics.weights import WeightNorm
from devtrack.schedules import log_spaced
from devtrack.series import Transition
from devtrack.store import Store, open_store
from devtrack.store.readers import read_events
from devtrack.tracking.lightning_tracker import Tracker
from devtrack.transitions.detection import find_transitions

P = 53
"""The modulus; the vocabulary is the residues 0 … P − 1."""

TRAIN_FRACTION = 0.4
MAX_STEPS = 3000
STEPS_PER_EPOCH = 50
GROKKED_ACCURACY = 0.995

Progress = Callable[[int, int, str], None]
"""Called with (steps done, steps planned, a few words on how it goes)."""

Batch = tuple[torch.Tensor, torch.Tensor]


class DemoResult(NamedTuple):
    """What the demonstration leaves behind.

    Attributes:
        store: The store.
        run_id: The run in it.
        transitions: Detected transitions, in order.
        picture: The emergence timeline, a PNG file.
        train_s: Seconds of training, observation included.
        cost: The tracker's account in words.
    """

    store: Path
    run_id: str
    transitions: list[Transition]
    picture: Path
    train_s: float
    cost: str


class ModularAddition(LightningModule):
    """Predicts (a + b) mod P from the summed embeddings of a and b through one hidden layer.

    Shapes:
        batch: pairs (sample, 2) and sums (sample,), integers below P.
    """

    def __init__(self, *, width: int = 64, hidden: int = 128) -> None:
        super().__init__()
        self.embed = nn.Embedding(P, width)
        self.hidden = nn.Sequential(nn.Linear(width, hidden), nn.ReLU())
        self.unembed = nn.Linear(hidden, P)

    def forward(self, pairs: torch.Tensor) -> torch.Tensor:
        """Return logits (sample, P) for pairs (sample, 2)."""
        return self.unembed(self.hidden(self.embed(pairs).sum(dim=1)))

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        """Return the cross-entropy of the batch."""
        pairs, sums = batch
        return nn.functional.cross_entropy(self(pairs), sums)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return AdamW with the weight decay that makes the network grok."""
        return torch.optim.AdamW(self.parameters(), lr=3e-3, weight_decay=1.0)


def all_pairs(*, seed: int) -> tuple[Batch, Batch]:
    """Return the training and the test part of all P² pairs with their sums."""
    first, second = torch.meshgrid(torch.arange(P), torch.arange(P), indexing="ij")
    pairs = torch.stack([first.flatten(), second.flatten()], dim=1)  # (P², 2)
    sums = pairs.sum(dim=1) % P
    # a generator of its own: the caller's stream is not ours to move
    order = torch.randperm(P * P, generator=torch.Generator().manual_seed(seed))
    train, test = order[: int(TRAIN_FRACTION * P * P)], order[int(TRAIN_FRACTION * P * P) :]
    return (pairs[train], sums[train]), (pairs[test], sums[test])


def correct(model: nn.Module, batch: Batch) -> torch.Tensor:
    """Say of each sample whether the most probable sum is the right one."""
    pairs, sums = batch
    return model(pairs).argmax(dim=1) == sums


def upper_half(batch: Batch) -> torch.Tensor:
    """Return the concept that is probed: whether the sum is in the upper half of the residues."""
    return (batch[1] > P // 2).long()


def demo_metrics(test: Batch) -> list[Metric]:
    """Return what the demonstration measures, on all training pairs and 1024 of the test pairs.

    The LLC is sampled on small batches, which are cheaper by the step than the full batch and, the
    baseline being paired, hardly noisier. One set of settings serves the whole run. With 0.3 of
    the step size the estimate of a wider network moved by 3 % late, 8 to 10 % before.
    """
    return [
        Loss(name="train_loss"),
        Loss(name="test_loss", data=test),
        FunctionMetric("train_accuracy", correct),
        FunctionMetric("test_accuracy", correct, data=test),
        LLC(
            batch_size=64,
            n_beta=100.0,
            localization=100.0,
            lr=1e-3,
            num_draws=100,
            num_burnin_steps=50,
        ),
        WeightNorm(),
        LinearProbe(name="upper_half", site="hidden", labels=upper_half, data=test),
    ]


def run_demo(
    store: str | Path, *, seed: int = 0, out: str | Path, progress: Progress | None = None
) -> DemoResult:
    """Train until grokked under observation, detect the transitions, draw the timeline.

    Args:
        store: Directory of the store; made if it does not exist.
        seed: Of the split and the initial weights.
        out: The PNG file to write.
        progress: Receives the progress of the training.

    Raises:
        StoreError: If the store cannot be used.
    """
    opened = open_store(store, create=True)
    train, test = all_pairs(seed=seed)
    tracker = Tracker(
        store,
        log_spaced(80),
        name="demo",
        metrics=demo_metrics(test),
        use_loggers=False,
        seed=seed,
    )
    with quiet_lightning(), one_thread(), torch.random.fork_rng(devices=[]):
        # modules draw their weights from the global stream alone; fork_rng puts it back
        torch.default_generator.manual_seed(seed)
        trainer = Trainer(
            max_steps=MAX_STEPS,
            max_epochs=-1,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[tracker, _UntilGrokked(test, progress)],
        )
        loader = DataLoader(_Repeated(train), batch_size=None)
        trainer.fit(ModularAddition(), loader)
    run_id = str(tracker.run_id)
    transitions = find_transitions(opened, run_id)
    picture = _draw(opened, run_id, Path(out))
    message, seconds = _cost(opened, run_id)
    return DemoResult(opened.path, run_id, transitions, picture, seconds, message)


class _Repeated(Dataset[Batch]):
    """The same batch ``STEPS_PER_EPOCH`` times: an epoch has a price of its own in Lightning."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch

    def __len__(self) -> int:
        return STEPS_PER_EPOCH

    def __getitem__(self, index: int) -> Batch:
        return self._batch


class _UntilGrokked(Callback):
    """Stops the training once the test accuracy is there, and reports on the way."""

    def __init__(self, test: Batch, progress: Progress | None) -> None:
        self._test = test
        self._progress = progress

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        with torch.no_grad():
            accuracy = float(correct(pl_module, self._test).float().mean())
        trainer.should_stop = accuracy >= GROKKED_ACCURACY
        if self._progress is not None:
            done = MAX_STEPS if trainer.should_stop else trainer.global_step
            self._progress(done, MAX_STEPS, f"test accuracy {accuracy:.2f}")


def _draw(store: Store, run_id: str, out: Path) -> Path:
    out.parent.mkdir(parents=True, exist_ok=True)
    plots.timeline(store, run_id).savefig(out, dpi=200)
    return out


def _cost(store: Store, run_id: str) -> tuple[str, float]:
    *_, (_, cost) = (one for one in read_events(store, run_id) if one[1].kind == "cost")
    return cost.message, float(cost.attrs["wall_s"])


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread: faster on matrices this small, and the same wherever it runs."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Keep Lightning's hints for newcomers out of what is printed."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            yield
    finally:
        logger.setLevel(level)
