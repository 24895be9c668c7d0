"""Is what is stored what trains, and what does making sure of it cost?

    python -m experiments.bench.fidelity [--situations]

The first table trains each situation without and with ``Tracker`` and compares the last row of
``loss`` with the module's own training step, on the batches that training met, in eval mode. It
also says whether the weights are equal to the bit. It asks for nothing that is not public, so that
it runs on other versions of devtrack too.

The second table gives the cost on the README's example and on a small GPT-2: the fidelity check of
the first step, the copy of a batch for the evaluation set, and the private copy that an observation
takes, each beside one training step. Medians over repeats; machines are noisy, so read the ratios.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from devtrack import Loss, Tracker, open_store, schedules

X = torch.randn(256, 4, generator=torch.Generator().manual_seed(0))
Y = X[:, :1] * X[:, 1:2]
STEPS, BATCH = 16, 64


class Net(LightningModule):
    """Regression with BatchNorm, which shows who ran it."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.Tanh(), nn.Linear(16, 1))

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        """Return the mean squared error."""
        return nn.functional.mse_loss(self.net(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adam."""
        return torch.optim.Adam(self.parameters(), lr=1e-2)


class Closure(Net):
    """The criterion is a lambda over the module."""

    def __init__(self) -> None:
        super().__init__()
        self.criterion = lambda x, y: nn.functional.mse_loss(self.net(x), y)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        """Return the criterion."""
        return self.criterion(*batch)


class Anneals(Net):
    """A term's weight is an attribute that training changes."""

    weight = 0.0

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Raise the weight."""
        self.weight = self.global_step / STEPS

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        """Return the error and the annealed term."""
        penalty = self.net[0].weight.square().sum()  # type: ignore[union-attr] - a Linear
        return super().training_step(batch, batch_idx) + self.weight * penalty


class Contrast(Net):
    """A loss over the pairs of a batch."""

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        """Return the cross-entropy of telling samples apart."""
        out = self.net(batch[0])
        return nn.functional.cross_entropy(out @ out.T, torch.arange(len(out)))


class Sums(Net):
    """A loss that sums over the batch."""

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        """Return the sum of squared errors."""
        return nn.functional.mse_loss(self.net(batch[0]), batch[1], reduction="sum")


class TimeFirst(Net):
    """Sequences with time in the first dimension."""

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        """Return the error at the sum over time."""
        return nn.functional.mse_loss(self.net(batch[0].sum(0)), batch[1])


class OwnNoise(Dataset[Any]):
    """Augments with a generator of its own."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(1)

    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return X[index] + torch.from_numpy(self.rng.normal(size=4)).float(), Y[index]


def _loader(**options: Any) -> DataLoader[Any]:
    return DataLoader(TensorDataset(X, Y), batch_size=BATCH, **options)


def _over_time(items: Any) -> tuple[torch.Tensor, torch.Tensor]:
    x, y = (torch.stack(parts) for parts in zip(*items, strict=True))
    return (x / 5).expand(5, *x.shape), y


SITUATIONS: dict[str, tuple[Callable[[], Any], Callable[[], DataLoader[Any]]]] = {
    "plain": (Net, _loader),
    "compiled module": (lambda: torch.compile(Net(), backend="eager"), _loader),
    "criterion over self": (Closure, _loader),
    "annealed attribute": (Anneals, _loader),
    "loss over pairs": (Contrast, _loader),
    "sum over the batch": (Sums, _loader),
    "time first": (TimeFirst, lambda: _loader(collate_fn=_over_time)),
    "data with own generator": (Net, lambda: DataLoader(OwnNoise(), batch_size=BATCH)),
}


class _Batches(Callback):
    """Keeps the first epoch's batches, as training met them."""

    def __init__(self) -> None:
        self.kept: list[tuple[Any, int]] = []

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Keep a batch."""
        if trainer.current_epoch == 0:
            self.kept.append((batch, batch_idx))


def _train(make: Callable[[], Any], data: Callable[[], Any], *callbacks: Callback) -> Any:
    torch.manual_seed(0)
    module = make()
    Trainer(
        max_steps=STEPS,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
    ).fit(module, data())
    return getattr(module, "_orig_mod", module)


def situation(name: str) -> tuple[str, float, float, str, bool]:
    """Return name, stored and own loss, the row's status, and whether weights are equal."""
    make, data = SITUATIONS[name]
    plain, batches = _train(make, data), _Batches()
    with tempfile.TemporaryDirectory() as folder:
        tracker = Tracker(folder, schedules.at([STEPS]), metrics=[Loss()])
        module = _train(make, data, batches, tracker)
        query = "SELECT value, status FROM metrics WHERE metric = 'loss' AND step = ?"
        ((stored, status),) = open_store(folder).sql(query, [STEPS]).fetchall()
    pairs = zip(plain.state_dict().values(), module.state_dict().values(), strict=True)
    same = all(torch.equal(left, right) for left, right in pairs)
    module.eval()
    with torch.no_grad():
        own = statistics.mean(float(type(module).training_step(module, *b)) for b in batches.kept)
    return name, stored, own, status, same


def _seconds(call: Callable[[], Any], repeats: int = 7) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def cost(name: str, module: nn.Module, loss: Callable[[nn.Module, Any], Any], batch: Any) -> str:
    """Return a line with the costs beside one training step, and the memory that they take."""
    from devtrack.data.evaluation_set import num_bytes, own_copy
    from devtrack.model_state._private_copy import private_copy
    from devtrack.model_state.fidelity import check_copy
    from devtrack.model_state.isolation import take_streams

    optimizer = torch.optim.Adam(module.parameters())

    def step() -> None:
        optimizer.zero_grad()
        loss(module, batch).backward()
        optimizer.step()

    def check() -> None:
        copy = private_copy(module)
        own = lambda model: loss(model, own_copy(batch))  # noqa: E731
        check_copy(module, copy, own, streams=take_streams(), context=nullcontext)

    step()
    one = _seconds(step)
    times = [
        _seconds(check),
        _seconds(lambda: own_copy(batch)),
        _seconds(lambda: private_copy(module)),
    ]
    weights = sum(p.numel() * p.element_size() for p in module.parameters())
    shown = " | ".join(f"{1e3 * t:.2f} ms, {t / one:.2f}" for t in times)
    memory = f"{num_bytes(batch) / 1e6:.3f} MB a batch, {weights / 1e6:.2f} MB a copy"
    return f"| {name} | {1e3 * one:.2f} ms | {shown} | {memory} |"


def costs() -> list[str]:
    """Return the lines of the second table."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    mlp = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 1))
    pair = torch.randn(64, 8), torch.randn(64, 1)
    gpt2 = GPT2LMHeadModel(
        GPT2Config(vocab_size=1000, n_positions=64, n_embd=128, n_layer=4, n_head=4)
    )
    tokens = torch.randint(1000, (8, 64))
    return [
        cost("README's example", mlp, lambda m, b: nn.functional.mse_loss(m(b[0]), b[1]), pair),
        cost("small GPT-2", gpt2, lambda m, b: m(input_ids=b, labels=b).loss, tokens),
    ]


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--situations", action="store_true", help="only the first table")
    only = parser.parse_args().situations
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    print("| situation | stored | training's own | status | weights equal |")
    print("|---|---|---|---|---|")
    for name in SITUATIONS:
        _, stored, own, status, same = situation(name)
        print(f"| {name} | {stored:.4f} | {own:.4f} | {status} | {'yes' if same else 'no'} |")
    if not only:
        print("\n| model | training step | check | kept batch | private copy | memory |")
        print("|---|---|---|---|---|---|")
        for line in costs():
            print(line)


if __name__ == "__main__":
    main()
