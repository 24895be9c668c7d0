"""Batches as the module that trains gets them, and the precision that its loss is computed in."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils import _pytree as pytree
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    SequentialSampler,
    Subset,
)

from devtrack.data.fixed_batches import fixed_batches
from devtrack.metrics.metric import Choose, LossFunction
from devtrack.model_state.isolation import isolated
from devtrack.trainer_facts import is_stream

if TYPE_CHECKING:
    from lightning.pytorch import Trainer


def chooser(trainer: Trainer, *, num_samples: int, seed: int) -> Choose:
    """Return the function that chooses fixed batches of any data and makes them ready.

    One function for the run's data and for those of its metrics, so that the same data give the
    same numbers on either way.

    Args:
        trainer: Of a training that has started.
        num_samples, seed: As for ``fixed_batches``.
    """

    def choose(data: Any) -> list[Any]:
        with isolated(seed=seed):  # the module's hooks may draw from the global streams
            batches = fixed_batches(data, num_samples=num_samples, seed=seed)
            return [_ready(own_copy(batch), trainer) for batch in batches]

    return choose


def seen_by(trainer: Trainer) -> Any:
    """Return the training's loader, cut down to the samples that training can see.

    ``overfit_batches`` and ``limit_train_batches`` end every epoch early. Where all epochs have one
    order, what comes after never trains anything.
    """
    loader: Any = trainer.train_dataloader
    limit = trainer.num_training_batches
    if is_stream(loader) or not math.isfinite(limit):
        return loader
    asks_whole = loader.batch_sampler is None  # each item of the dataset is a batch already
    processes = _processes_in_order(loader.sampler)
    if processes == 0 or not (asks_whole or type(loader.batch_sampler) is BatchSampler):
        return loader
    size = None if asks_whole else loader.batch_sampler.batch_size
    count = int(limit) * processes * (size or 1)
    if count >= len(loader.dataset):
        return loader
    seen = Subset(loader.dataset, range(count))
    return DataLoader(seen, batch_size=size, collate_fn=loader.collate_fn)


def own_copy(batch: Any) -> Any:
    """Return the batch with tensors that nobody else writes to."""
    keep = lambda x: x.detach().clone() if isinstance(x, torch.Tensor) else x  # noqa: E731
    return pytree.tree_map(keep, batch)


def in_training_precision(loss: LossFunction, trainer: Trainer) -> LossFunction:
    """Return ``loss`` as ``training_step`` is called: new tensors have the training's precision.

    That is bfloat16 under ``bf16-true``, and the default under mixed precision: there numbers are
    measured without autocast.
    """

    def call(model: nn.Module, batch: Any) -> torch.Tensor:
        with trainer.precision_plugin.tensor_init_context():
            return loss(model, batch)

    return call


def _processes_in_order(sampler: Any) -> int:
    """Return how many processes share the samples from the first to the last; 0 if none does."""
    if type(sampler) is DistributedSampler:
        return 0 if sampler.shuffle else sampler.num_replicas
    return int(type(sampler) is SequentialSampler)


def _ready(batch: Any, trainer: Trainer) -> Any:
    """Return what ``training_step`` would get: precision, the user's transfer hooks, device."""
    batch = trainer.precision_plugin.convert_input(batch)
    # Lightning's own loops make these two calls; the first finds the hook in module or datamodule
    batch = trainer.lightning_module._on_before_batch_transfer(batch, dataloader_idx=0)
    return trainer.strategy.batch_to_device(batch, dataloader_idx=0)
