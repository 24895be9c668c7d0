"""A Lightning training as a session sees it."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Sequence, Sized
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils import _pytree as pytree
from torch.utils.data import DataLoader, IterableDataset

from devtrack.data.evaluation_set import samples_of
from devtrack.model_state._object_graph import tensors_in
from devtrack.model_state.stub_trainer import StubOptimizer, StubScheduler, Swallow
from devtrack.records import Record, Row, Status
from devtrack.tracking.training_loop import TrainingLoop

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

_FACTS = (
    "max_epochs",
    "min_epochs",
    "max_steps",
    "min_steps",
    "num_training_batches",
    "num_val_batches",
    "is_last_batch",
    "accumulate_grad_batches",
    "gradient_clip_val",
    "log_every_n_steps",
    "precision",
    "world_size",
    "global_rank",
    "local_rank",
    "node_rank",
    "num_devices",
    "num_nodes",
    "fast_dev_run",
    "default_root_dir",
)
_UNKNOWN = object()


def is_dry_run(trainer: Trainer) -> bool:
    """Say whether the Trainer only tries the code (``fast_dev_run``)."""
    return bool(getattr(trainer, "fast_dev_run", False))  # set dynamically by Lightning


def planned_steps(trainer: Trainer) -> int | None:
    """Return how many optimizer steps are planned; None without a limit."""
    total = trainer.estimated_stepping_batches
    return int(total) if total != float("inf") and total > 0 else None


class LightningLoop(TrainingLoop):
    """The training of a Trainer that has started.

    Args:
        trainer: The Trainer.
        module: The module that it trains.
    """

    def __init__(self, trainer: Trainer, module: nn.Module) -> None:
        super().__init__(module)
        self._trainer = trainer

    @property
    def step(self) -> int:
        """Optimizer steps completed."""
        return self._trainer.global_step

    @property
    def epoch(self) -> int:
        """Epochs completed."""
        return self._trainer.current_epoch

    @property
    def optimizers(self) -> Sequence[Any]:
        """The Trainer's optimizers."""
        return self._trainer.optimizers

    @property
    def total_steps(self) -> int | None:
        """Optimizer steps planned; None without a limit."""
        return planned_steps(self._trainer)

    @property
    def device(self) -> torch.device:
        """Where the module trains."""
        return self._trainer.strategy.root_device

    @property
    def world_size(self) -> int:
        """Number of processes."""
        return self._trainer.world_size

    @property
    def precision(self) -> str:
        """The Trainer's precision."""
        return str(self._trainer.precision)

    @property
    def loader(self) -> Any:
        """The Trainer's training loader."""
        return self._trainer.train_dataloader

    @property
    def is_last_batch(self) -> bool:
        """Whether the batch is the last of its epoch."""
        return self._trainer.is_last_batch

    @property
    def batches_per_epoch(self) -> float:
        """Batches that an epoch takes of the loader."""
        return self._trainer.num_training_batches

    def describe(self) -> dict[str, Any]:
        """Return what belongs into the run's configuration, JSON-serialisable."""
        own = {"accumulate_grad_batches": self._trainer.accumulate_grad_batches}
        return super().describe() | own

    def stub_facts(self) -> dict[str, Any]:
        """Return the facts that a private copy may ask its Trainer for (see ``StubTrainer``)."""
        trainer = self._trainer
        facts = {name: _attribute(trainer, name) for name in _FACTS}
        facts = {name: value for name, value in facts.items() if value is not _UNKNOWN}
        metrics = {k: v.detach().clone() for k, v in trainer.callback_metrics.items()}
        return facts | {
            "datamodule": copy.copy(_attribute(trainer, "datamodule", None)),
            "estimated_stepping_batches": self.total_steps or math.inf,
            "root_device": self.device,
            "callback_metrics": metrics,
            "loggers": [Swallow() for _ in trainer.loggers],
            "optimizers": [StubOptimizer(_settings(one)) for one in trainer.optimizers],
            "lr_schedulers": [StubScheduler(_rates(one)) for one in trainer.lr_scheduler_configs],
        }

    def count_samples(self, batch: Any, batch_idx: int) -> int:
        """Return the samples in a batch of the training, as its loader counts them."""
        return count_samples(self.loader, batch, batch_idx)

    def ready(self, batch: Any) -> Any:
        """Return what ``training_step`` would get: precision, the user's transfer hooks, device."""
        trainer = self._trainer
        batch = trainer.precision_plugin.convert_input(batch)
        # Lightning's own loops make these two calls; the first finds the user's hook
        batch = trainer.lightning_module._on_before_batch_transfer(batch, dataloader_idx=0)
        return trainer.strategy.batch_to_device(batch, dataloader_idx=0)

    @property
    def measuring_context(self) -> Callable[[], AbstractContextManager[Any]]:
        """The context of every measurement: new tensors have the training's precision.

        That is bfloat16 under ``bf16-true``, and the default under mixed precision: numbers are
        measured without autocast there.
        """
        return self._trainer.precision_plugin.tensor_init_context

    @property
    def training_context(self) -> Callable[[], AbstractContextManager[Any]]:
        """The context in which the training step runs, with its autocast."""
        return self._trainer.precision_plugin.train_step_context

    @property
    def loggers(self) -> Sequence[Any]:
        """The Trainer's loggers."""
        return self._trainer.loggers

    def logger_step(self, *, in_batch: bool) -> int:
        """Return the position of the present on the loggers' axis.

        It counts the batches that stepped: with several optimizers ``global_step`` counts each
        optimizer.
        """
        trainer = self._trainer
        if not self.steps_itself:
            return trainer.global_step
        return trainer.fit_loop.epoch_loop._batches_that_stepped + in_batch

    def forward(self, records: Iterable[Record], logger: Any, *, step: int) -> None:
        """Log the numbers as ``devtrack/<metric>`` or ``devtrack/<metric>/<site>``; no failed ones.

        The logger is called itself: ``pl_module.log`` would enter the training's own bookkeeping.
        """
        scalars = {
            f"devtrack/{r.metric}" + ("" if r.site == "model" else f"/{r.site}"): r.value
            for r in records
            if isinstance(r, Row) and r.status is not Status.FAILED
        }
        logger.log_metrics(scalars, step=step)

    def stop(self) -> None:
        """End the training after this step."""
        self._trainer.should_stop = True

    def save_checkpoint(self, path: str | Path) -> None:
        """Write a Lightning checkpoint."""
        self._trainer.save_checkpoint(path)


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


def _attribute(trainer: Trainer, name: str, default: Any = _UNKNOWN) -> Any:
    try:
        return getattr(trainer, name, default)
    except Exception:  # noqa: BLE001 - a property of Lightning's that does not apply here
        return default


def _settings(optimizer: Any) -> list[dict[str, Any]]:
    return [{**group, "params": []} for group in optimizer.param_groups]


def _rates(config: Any) -> list[float]:
    last = getattr(config.scheduler, "get_last_lr", None)
    return [] if last is None else [float(rate) for rate in last()]
