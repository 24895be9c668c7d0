"""Real trainings in which nothing happens: ridge and logistic regression on small data sets.

Their loss is convex, so that none of their curves steps, though accuracies and norms bend as they
like, and a test loss may rise again late. ``python -m experiments.bench.transitions --trainings N``
counts the alarms, by optimizer.

Results: ``experiments/bench/results/quiet_trainings.md``.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from sklearn import datasets

from devtrack.series import Series

Array = npt.NDArray[np.floating]

DATA = ("digits", "wine", "breast_cancer", "iris", "diabetes")
OPTIMIZERS = ("sgd", "momentum", "adam")
MOMENTUM, SQUARES = 0.9, 0.999  # memories of the gradient and, with Adam, of its square
SPEED = {"sgd": 1.0, "momentum": 0.3, "adam": 0.03}  # learning rate relative to that of SGD


def quiet_trainings(
    count: int, seed: int, *, drawn: bool = False
) -> Iterator[tuple[str, list[Series]]]:
    """Yield the optimizer, one of ``OPTIMIZERS`` in turn, and the curves of one training each.

    Args:
        count: Trainings.
        seed: Of all that is chosen at random.
        drawn: Whether weights begin as ``torch.nn.Linear`` draws them, or at zero.
    """
    for index in range(count):
        optimizer = OPTIMIZERS[index % len(OPTIMIZERS)]
        start = np.random.default_rng([seed, index, 1]) if drawn else None
        yield optimizer, _train(np.random.default_rng([seed, index]), optimizer, start)


def _train(
    rng: np.random.Generator, optimizer: str, start: np.random.Generator | None
) -> list[Series]:
    """Train by minibatches and return the curves of the snapshots."""
    x, y, is_classes = _data(rng)
    held = x.shape[0] // 3
    steps, batch = _schedule(rng), int(rng.choice([8, 32, 128]))
    lr = 10 ** rng.uniform(-1.7, 0.0) * (3.0 if is_classes else 1.0) * SPEED[optimizer]
    weights, speed, squares = (np.zeros((x.shape[1], y.shape[1])) for _ in range(3))
    if start is not None:
        weights = start.uniform(-1, 1, weights.shape) / np.sqrt(x.shape[1])
    rows: dict[str, list[tuple[float, float]]] = {}
    wanted = set(steps.tolist())
    for step in range(int(steps[-1]) + 1):
        if step in wanted:
            _measure(rows, x @ weights, y, held=held, is_classes=is_classes)
            rows.setdefault("weight_norm", []).append((float(np.linalg.norm(weights)), np.nan))
        chosen = held + rng.integers(0, x.shape[0] - held, batch)
        wrong = _predict(x[chosen] @ weights, is_classes) - y[chosen]
        gradient = x[chosen].T @ wrong / batch
        if optimizer == "adam":
            speed = MOMENTUM * speed + (1 - MOMENTUM) * gradient
            squares = SQUARES * squares + (1 - SQUARES) * gradient**2
            mean, square = (
                a / (1 - b ** (step + 1)) for a, b in ((speed, MOMENTUM), (squares, SQUARES))
            )
            weights = weights - lr * mean / (np.sqrt(square) + 1e-8)
        else:
            speed = (MOMENTUM if optimizer == "momentum" else 0.0) * speed + gradient
            weights = weights - lr * speed
    return [Series(name, "model", steps, *np.array(values).T) for name, values in rows.items()]


def _data(rng: np.random.Generator) -> tuple[Array, Array, bool]:
    """Return inputs (example, feature) of unit length on average, targets, and their kind."""
    name = str(rng.choice(DATA))
    bunch = getattr(datasets, f"load_{name}")()
    x = (bunch.data - bunch.data.mean(axis=0)) / (bunch.data.std(axis=0) + 1e-6)
    x /= np.sqrt((x**2).sum(axis=1).mean())
    order = rng.permutation(x.shape[0])
    if name == "diabetes":
        y = ((bunch.target - bunch.target.mean()) / bunch.target.std())[:, None]
        return x[order], y[order], False
    return x[order], np.eye(bunch.target.max() + 1)[bunch.target][order], True


def _schedule(rng: np.random.Generator) -> npt.NDArray[np.int64]:
    last, num = int(rng.choice([1000, 3000, 6000])), int(rng.choice([40, 60, 90, 120, 160]))
    if rng.random() < 0.6:
        return np.unique(np.append(0, np.geomspace(1, last, num)).astype(int))
    return np.arange(0, last + 1, last // num)


def _measure(
    rows: dict[str, list[tuple[float, float]]], out: Array, y: Array, *, held: int, is_classes: bool
) -> None:
    """Append the losses, that of the training set without a standard error, and the accuracy."""
    predicted = _predict(out, is_classes)
    squares = ((out - y) ** 2).sum(axis=1)
    loss = -np.log((predicted * y).sum(axis=1) + 1e-12) if is_classes else squares
    spread = float(loss[:held].std() / np.sqrt(held))
    rows.setdefault("test_loss", []).append((float(loss[:held].mean()), spread))
    rows.setdefault("train_loss", []).append((float(loss[held:].mean()), np.nan))
    if is_classes:
        right = float(np.mean(out[:held].argmax(axis=1) == y[:held].argmax(axis=1)))
        spread = float(np.sqrt(right * (1 - right) / held))
        rows.setdefault("test_accuracy", []).append((right, spread))


def _predict(out: Array, is_classes: bool) -> Array:
    """Return probabilities of the classes (softmax), or the numbers as they are."""
    if not is_classes:
        return out
    shifted = np.exp(out - out.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)
