"""Data and numbers as the module that trains gets them: transfer hooks, precision, batch sizes."""

from __future__ import annotations

from collections.abc import Callable, Sized
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from torch.utils import _pytree as pytree
from torch.utils.data import DataLoader, IterableDataset

from devtrack.data.evaluation_set import own_copy, samples_of
from devtrack.data.fixed_batches import fixed_batches
from devtrack.metrics.metric import Choose
from devtrack.model_state._object_graph import tensors_in
from devtrack.model_state.isolation import isolated

if TYPE_CHECKING:
    from lightning.pytorch import Trainer


def chooser(trainer: Trainer, *, num_samples: int, seed: int) -> Choose:
    """Return the function that chooses fixed batches of a user's own data and makes them ready.

    Args:
        trainer: Of a training that has started.
        num_samples, seed: As for ``fixed_batches``.
    """

    def choose(data: Any) -> list[Any]:
        with isolated(seed=seed):  # the module's hooks may draw from the global streams
            batches = fixed_batches(data, num_samples=num_samples, seed=seed)
            return [_ready(own_copy(batch), trainer) for batch in batches]

    return choose


def training_precision(trainer: Trainer) -> Callable[[], AbstractContextManager[Any]]:
    """Return the context in which new tensors have the training's precision.

    That is bfloat16 under ``bf16-true``, and the default under mixed precision: there numbers are
    measured without autocast.
    """
    return trainer.precision_plugin.tensor_init_context


def count_samples(loader: Any, batch: Any, batch_idx: int) -> int:
    """Return the samples in a batch of training.

    The loader knows it, where it makes the batches: no shape tells it of sequences with time first,
    graphs or packed sequences. A batch of a user's own making is counted by its first tensor.

    Args:
        loader: What the training iterates over.
        batch: What reached the training step.
        batch_idx: Its place in the epoch.
    """
    loaders = pytree.tree_leaves(loader)
    if len(loaders) != 1:  # several loaders make one batch of parts
        sizes = [_batch_size(one, batch_idx) for one in loaders]
        has_parts = isinstance(batch, Sized) and len(batch) == len(loaders)
        return sum(size for size in sizes if size) if has_parts else samples_of(batch)
    loader = loaders[0]
    size = _batch_size(loader, batch_idx)
    if size is None:
        return samples_of(batch)
    if isinstance(loader.dataset, IterableDataset):  # whose last batch may be shorter
        lengths = {n for tensor in tensors_in(batch) for n in tensor.shape[:2]}
        return size if size in lengths or not lengths else samples_of(batch)
    return size


def _batch_size(loader: Any, batch_idx: int) -> int | None:
    """Return the samples in one batch of a loader; None if it does not say."""
    size = getattr(loader, "batch_size", None) if isinstance(loader, DataLoader) else None
    if size is None or isinstance(loader.dataset, IterableDataset):
        return size
    try:
        return max(1, min(size, len(loader.sampler) - batch_idx * size))  # type: ignore[arg-type]
    except TypeError:  # a sampler without a length
        return size


def _ready(batch: Any, trainer: Trainer) -> Any:
    """Return what ``training_step`` would get: precision, the user's transfer hooks, device."""
    batch = trainer.precision_plugin.convert_input(batch)
    # Lightning's own loops make these two calls; the first finds the hook in module or datamodule
    batch = trainer.lightning_module._on_before_batch_transfer(batch, dataloader_idx=0)
    return trainer.strategy.batch_to_device(batch, dataloader_idx=0)
