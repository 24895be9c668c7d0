"""Is the step size that ``LLC()`` finds at the start of a run still right at its end?

    python -m experiments.bench.llc_late [--repeats 8]

Small networks are trained by Adam. At their first weights the step size is found, as in a run; at
their last ones λ̂ is estimated with it, by plain SGLD and by LM-SGLD, and beside them by LM-SGLD at
an eighth of it over a time as long. Printed: how far the mean of the repeats lies above that.

Results: ``experiments/bench/results/llc_late.md``.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from devtrack import LLC
from devtrack.records import Row
from experiments.bench.gates import Gate, estimate

TRAINING_STEPS = 4000
REFINED = 8
CHAINS, DRAWS, BURNIN = 8, 600, 300
METHODS = ("sgld", "lm_sgld")
LINE = "{:24}{:>9}{:>18}{:>16}{:>16}"

Batches = list[tuple[Tensor, Tensor]]
Loss = Callable[[nn.Module, tuple[Tensor, Tensor]], Tensor]


class Training(NamedTuple):
    """A network before training, and what it is trained on."""

    name: str
    model: nn.Module
    loss: Loss
    batches: Batches
    lr: float


def trainings() -> list[Training]:
    """Return small networks on products of two of eight inputs."""
    torch.manual_seed(0)
    x = torch.randn(512, 8)
    product = x[:, :1] * x[:, 1:2]
    label = (product[:, 0] > 0).long()
    noisy = torch.where(torch.rand(512) < 0.1, 1 - label, label)

    def network(width: int, out: int, act: type[nn.Module]) -> nn.Module:
        layers = [nn.Linear(8, width), act(), nn.Linear(width, width), act(), nn.Linear(width, out)]
        return nn.Sequential(*layers)

    def cut(y: Tensor, size: int) -> Batches:
        return list(zip(x.split(size), y.split(size), strict=True))

    def squares(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        return functional.mse_loss(model(batch[0]), batch[1])

    def entropy(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        return functional.cross_entropy(model(batch[0]), batch[1])

    return [
        Training("labels", network(64, 2, nn.ReLU), entropy, cut(label, 512), 3e-3),
        Training("labels, batches of 64", network(64, 2, nn.ReLU), entropy, cut(label, 64), 3e-3),
        Training("noisy labels, of 64", network(16, 2, nn.ReLU), entropy, cut(noisy, 64), 3e-3),
        Training("regression", network(32, 1, nn.Tanh), squares, cut(product, 512), 3e-3),
    ]


def train(training: Training) -> None:
    """Train a network in place, on batches of 64."""
    x, y = (torch.cat(part) for part in zip(*training.batches, strict=True))
    optimizer = torch.optim.Adam(training.model.parameters(), training.lr)
    for _ in range(TRAINING_STEPS):
        chosen = torch.randint(0, len(x), (64,))
        optimizer.zero_grad()
        training.loss(training.model, (x[chosen], y[chosen])).backward()
        optimizer.step()


def measure(training: Training, metric: LLC, seeds: Sequence[int]) -> list[Row]:
    """Return the rows at the present weights, one per seed."""
    problem = (training.model, training.loss, training.batches)
    gate = Gate(training.name, math.nan, None, lambda: problem, metric)
    return [estimate(gate, seed=seed) for seed in seeds]


def main() -> None:
    """Print one line per training."""
    parser = argparse.ArgumentParser(description="Step sizes found early, late in training.")
    parser.add_argument("--repeats", type=int, default=8)
    seeds = range(parser.parse_args().repeats)
    print(LINE.format("training", "lr", "at lr / 8", *METHODS))
    for training in trainings():
        lr = measure(training, LLC(), seeds[:1])[0].attrs["lr"]
        train(training)
        plain = LLC(lr=lr, num_chains=CHAINS, num_draws=DRAWS, num_burnin_steps=BURNIN)
        slow = replace(
            plain,
            lr=lr / REFINED,
            num_draws=REFINED * DRAWS,
            num_burnin_steps=REFINED * BURNIN,
        )
        truth = [row.value for row in measure(training, slow, seeds)]
        late = [measure(training, replace(plain, method=method), seeds) for method in METHODS]
        shown = [_excess([row.value for row in rows], truth) for rows in late]
        at = f"{np.mean(truth):.4g} ± {_error(truth):.2g}"
        print(LINE.format(training.name, f"{lr:.2g}", at, *shown), flush=True)


def _excess(values: Sequence[float], truth: Sequence[float]) -> str:
    right = float(np.mean(truth))
    excess = float(np.mean(values)) / right - 1
    return f"{excess:+.1%} ± {np.hypot(_error(values), _error(truth)) / right:.1%}"


def _error(values: Sequence[float]) -> float:
    return float(np.std(values, ddof=1) / np.sqrt(len(values)))


if __name__ == "__main__":
    main()
