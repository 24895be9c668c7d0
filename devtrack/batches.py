"""The fixed batches that every snapshot of a run is measured on.

Numbers taken on different data cannot be compared along a run, so the data are chosen once, by
the run's seed, without touching the training's own sampler, workers or random streams.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Sized
from itertools import islice
from typing import Any, cast

import numpy as np
import torch
from torch.utils import _pytree as pytree
from torch.utils.data import DataLoader, Dataset, IterableDataset, default_collate

from devtrack.errors import DataError


def fixed_batches(
    data: Any, *, num_samples: int = 1024, batch_size: int | None = None, seed: int = 0
) -> list[Any]:
    """Return a fixed list of batches from ``data``.

    Args:
        data: A DataLoader (its dataset and ``collate_fn`` are used, never its sampler or workers),
            a map-style Dataset, a tuple or dict of tensors (all of it, one sample per row), one
            tensor, or a list of batches, which is taken as it is.
        num_samples: How many samples to choose without replacement; all if there are fewer. At
            least one batch is taken. Ignored for a list.
        batch_size: Samples per batch; the DataLoader's own, else all in one batch.
        seed: Chooses the samples.

    Returns:
        Batches of ``batch_size`` samples, the last one dropped if it would be shorter and is not
        the only one: estimators weigh batches equally.

    Raises:
        DataError: If no batch can be made.
    """
    if isinstance(data, list):
        return _require_batches(data, data)
    if isinstance(data, DataLoader):
        return _from_loader(data, num_samples=num_samples, seed=seed)
    if isinstance(data, Dataset) and not isinstance(data, IterableDataset):
        chosen = _choose(len(cast(Sized, data)), num_samples, batch_size, seed)
        return [default_collate([data[i] for i in group]) for group in chosen]
    if isinstance(data, torch.Tensor | tuple | dict):
        chosen = _choose(num_rows(data), num_samples, batch_size, seed)
        return [rows(data, torch.as_tensor(group)) for group in chosen]
    raise DataError(
        f"data of type {type(data).__name__}: must be a DataLoader, a Dataset with a length, a "
        f"tuple or dict of tensors, or a list of batches. Pass a list of batches to be sure."
    )


def num_rows(batch: Any) -> int:
    """Return the number of samples in a batch: the length of its first tensor.

    Raises:
        DataError: If the batch holds no tensor with a first dimension.
    """
    for leaf in pytree.tree_iter(batch):  # lazily: asked after every training batch
        if isinstance(leaf, torch.Tensor) and leaf.ndim > 0:
            return leaf.shape[0]
    raise DataError(
        f"batch of type {type(batch).__name__}: holds no tensor whose first dimension counts "
        f"samples. Pass data= with batches of tensors."
    )


def rows(batch: Any, index: torch.Tensor | slice) -> Any:
    """Return the samples ``index`` of every tensor in ``batch`` that has a row per sample."""
    count = num_rows(batch)

    def pick(leaf: Any) -> Any:
        per_sample = isinstance(leaf, torch.Tensor) and leaf.ndim > 0 and leaf.shape[0] == count
        return leaf[index] if per_sample else leaf

    return pytree.tree_map(pick, batch)


def to_device(batches: Iterable[Any], device: torch.device) -> list[Any]:
    """Return the batches with every tensor on ``device``."""
    return [
        pytree.tree_map(lambda x: x.to(device) if isinstance(x, torch.Tensor) else x, batch)
        for batch in batches
    ]


def _from_loader(loader: DataLoader[Any], *, num_samples: int, seed: int) -> list[Any]:
    dataset = loader.dataset
    if isinstance(dataset, IterableDataset) or not isinstance(dataset, Sized):
        # A stream has no index to choose from: its first batches are as fixed as it gets.
        wanted = max(1, num_samples // (loader.batch_size or num_samples))
        return _require_batches(list(islice(iter(loader), wanted)), loader)
    if loader.batch_size is None and loader.batch_sampler is None:  # each item is a batch already
        order = np.random.default_rng(seed).permutation(len(dataset)).tolist()
        wanted = max(1, num_samples // num_rows(dataset[order[0]])) if order else 0
        return _require_batches([loader.collate_fn(dataset[i]) for i in order[:wanted]], loader)
    chosen = _choose(len(dataset), num_samples, _loader_batch_size(loader), seed)
    return [loader.collate_fn([dataset[i] for i in group]) for group in chosen]


def _loader_batch_size(loader: DataLoader[Any]) -> int | None:
    size = loader.batch_size or getattr(loader.batch_sampler, "batch_size", None)
    return size if isinstance(size, int) else None


def _choose(count: int, num_samples: int, batch_size: int | None, seed: int) -> list[list[int]]:
    if count == 0:
        raise DataError("data with 0 samples: at least 1 is needed. Pass data= that is not empty.")
    size = min(batch_size or min(count, num_samples), count)
    total = max(size, min(count, num_samples) // size * size)
    order = np.random.default_rng(seed).permutation(count)[:total]
    return [order[i : i + size].tolist() for i in range(0, total, size)]


def _require_batches(batches: Sequence[Any], data: Any) -> list[Any]:
    if not batches:
        raise DataError(
            f"data of type {type(data).__name__} with 0 batches: at least 1 is needed. Pass data= "
            f"that is not empty."
        )
    return list(batches)
