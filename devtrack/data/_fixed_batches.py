"""The fixed batches that every snapshot of a run is measured on.

Values measured on different data cannot be compared along a run. So the data are chosen once, by
the run's seed. The training's own sampler, workers and random streams are not touched.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterable, Sequence, Sized
from itertools import islice
from typing import Any, cast

import numpy as np
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    default_collate,
)

from devtrack.data._private_data import private_data
from devtrack.errors import DataError
from devtrack.model_state._object_graph import map_tensors, tensors_in, walk
from devtrack.model_state.isolation import isolated

_MOST_READ = 2**20  # numbers of one tensor


def fixed_batches(
    data: Any, *, num_samples: int = 1024, batch_size: int | None = None, seed: int = 0
) -> list[Any]:
    """Return a fixed list of batches from ``data``.

    Args:
        data: A DataLoader, a map-style Dataset, a tuple or dict of tensors (one sample per row),
            one tensor, or a list of batches. A list is taken as it is. Of a DataLoader, copies of
            the dataset and of ``collate_fn`` are used (see ``private_data``), never its workers.
            Only samples that a copy of its sampler gives are used. Those of a
            ``DistributedSampler`` are taken over all processes. A weighted sampler gives samples as
            often as in training. A ``batch_sampler`` of its own kind makes whole batches.
        num_samples: How many samples to choose without replacement; all if there are fewer. At
            least one batch is taken. Ignored for a list. Of streams, and of samplers without a
            length, it is the first ones.
        batch_size: Samples per batch; the DataLoader's own, else all in one batch.
        seed: Chooses the samples.

    Returns:
        Batches of ``batch_size`` samples, the last one dropped if it would be shorter and is not
        the only one: estimators weigh batches equally.

    Raises:
        DataError: If no batch can be made, or the sampler cannot be copied.
    """
    if isinstance(data, list):
        return _require_batches(data, data)
    if isinstance(data, DataLoader):
        with isolated(seed=seed):  # samplers, datasets and workers may draw from the global streams
            return _from_loader(data, num_samples=num_samples, seed=seed)
    if isinstance(data, Dataset) and not isinstance(data, IterableDataset):
        own = private_data(data)
        chosen = _choose(len(cast(Sized, own)), num_samples, batch_size, seed)
        with isolated(seed=seed):
            return [default_collate([own[i] for i in group]) for group in chosen]
    if isinstance(data, torch.Tensor | tuple | dict):
        chosen = _choose(num_rows(data), num_samples, batch_size, seed)
        return [rows(data, torch.as_tensor(group)) for group in chosen]
    raise DataError(
        f"data of type {type(data).__name__}: must be a DataLoader, a Dataset with a length, a "
        f"tuple or dict of tensors, or a list of batches. Pass a list of batches to be sure."
    )


def is_data(data: Any) -> bool:
    """Say whether it is of a kind that ``fixed_batches`` takes."""
    return isinstance(data, list | DataLoader | Dataset | torch.Tensor | tuple | dict)


def num_rows(batch: Any) -> int:
    """Return the number of samples in a batch: the length of its first tensor.

    Raises:
        DataError: If the batch holds no tensor with a first dimension.
    """
    for tensor in tensors_in(batch):
        if tensor.ndim > 0:
            return tensor.shape[0]
    raise DataError(
        f"batch of type {type(batch).__name__}: holds no tensor whose first dimension counts "
        f"samples. Pass data= with batches of tensors."
    )


def rows(batch: Any, index: torch.Tensor | slice) -> Any:
    """Return the samples ``index`` of every tensor in ``batch`` that has a row per sample."""
    count = num_rows(batch)

    def pick(tensor: torch.Tensor) -> torch.Tensor:
        return tensor[index] if tensor.ndim > 0 and tensor.shape[0] == count else tensor

    return map_tensors(pick, batch)


def fingerprint(batches: Sequence[Any]) -> str:
    """Return 16 hex digits that tell these batches from others, wherever their tensors lie.

    Every checkpoint holds it, where the batches themselves would be too large. A resumed run
    compares it, to know whether it is measured on the same data. Of a tensor with more than about a
    million numbers it takes every second, third, … one. Of what is no tensor, text and numbers
    count.
    """
    digest = hashlib.sha256()
    for _, leaf in (found for batch in batches for found in walk(batch, with_plain=True)):
        if isinstance(leaf, torch.Tensor):
            for numbers in _numbers_of(leaf):
                some = numbers[:: max(1, numbers.numel() // _MOST_READ)].cpu().contiguous()
                digest.update(f"{leaf.dtype}{tuple(leaf.shape)}".encode())
                digest.update(some.view(torch.uint8).numpy().tobytes())
        elif isinstance(leaf, str | int | float):
            digest.update(repr(leaf).encode())
    return digest.hexdigest()[:16]


def _numbers_of(tensor: torch.Tensor) -> list[torch.Tensor]:
    """Return what a tensor holds as flat dense tensors; a sparse one holds places and values."""
    tensor = tensor.detach()
    if tensor.layout is torch.sparse_coo:
        whole = tensor.coalesce()
        return [whole.indices().reshape(-1), whole.values().reshape(-1)]
    if tensor.layout is not torch.strided:
        tensor = tensor.to_dense()
    return [tensor.reshape(-1)]


def to_device(batches: Iterable[Any], device: torch.device) -> list[Any]:
    """Return the batches with every tensor on ``device``."""
    return [map_tensors(lambda tensor: tensor.to(device), batch) for batch in batches]


def _from_loader(loader: DataLoader[Any], *, num_samples: int, seed: int) -> list[Any]:
    dataset, collate = private_data((loader.dataset, loader.collate_fn))
    if isinstance(dataset, IterableDataset):
        # A stream has no index to choose from: its first batches are as fixed as it gets.
        wanted = max(1, num_samples // (loader.batch_size or num_samples))
        own = DataLoader(dataset, batch_size=loader.batch_size, collate_fn=collate)
        return _require_batches(list(islice(iter(own), wanted)), loader)
    asks_whole = loader.batch_sampler is None  # each item of the dataset is a batch already
    sampler: Any = loader.sampler if asks_whole else loader.batch_sampler

    def batch(index: Any) -> Any:
        return collate(dataset[index] if asks_whole else [dataset[i] for i in index])

    if type(sampler) is BatchSampler:
        given = _given(sampler.sampler, loader, num_samples, seed)
        groups = _choose(len(given), num_samples, sampler.batch_size, seed)
        return [batch([given[place] for place in group]) for group in groups]
    given = _given(sampler, loader, num_samples, seed)
    order = np.random.default_rng(seed).permutation(len(given)).tolist()
    first = [batch(given[place]) for place in order[:1]]
    wanted = max(1, num_samples // num_rows(first[0])) if first else 0
    return _require_batches(first + [batch(given[place]) for place in order[1:wanted]], loader)


def _given(sampler: Any, loader: DataLoader[Any], num_samples: int, seed: int) -> Sequence[Any]:
    """Return what one epoch of a sampler gives; the sampler itself does not move."""
    if _gives_each_once(sampler):
        return range(len(sampler.data_source))
    try:
        # the memo keeps the data themselves from being copied
        twin: Any = copy.deepcopy(sampler, {id(loader.dataset): loader.dataset})
    except Exception as error:  # any attribute of the user's may refuse, in any way
        raise DataError(
            f"sampler of type {type(sampler).__name__}: cannot be copied ({error}), and the "
            f"training's own must not move. Pass data= with a loader that has none, or a list of "
            f"batches."
        ) from error
    if isinstance(getattr(twin, "generator", None), torch.Generator):
        twin.generator.manual_seed(seed)  # by the seed alone, wherever the training's own stands
    if isinstance(twin, DistributedSampler):
        return [i for rank in range(twin.num_replicas) for i in _share(twin, rank, seed)]
    return list(islice(twin, len(twin) if hasattr(twin, "__len__") else num_samples))


def _gives_each_once(sampler: Any) -> bool:
    if type(sampler) is RandomSampler:
        return not sampler.replacement and sampler.num_samples == len(sampler.data_source)
    return type(sampler) is SequentialSampler


def _share(sampler: DistributedSampler[Any], rank: int, seed: int) -> list[Any]:
    sampler.rank = rank
    with isolated(seed=seed):  # every process draws the same order and takes its share of it
        return list(sampler)


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
