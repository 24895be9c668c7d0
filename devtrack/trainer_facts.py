"""What can be read off a Trainer, and the one thing handed to it: numbers for its loggers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from devtrack.data.fixed_batches import num_rows
from devtrack.errors import DataError
from devtrack.rows import Record, Row, Status

if TYPE_CHECKING:
    from lightning.pytorch import Trainer
    from lightning.pytorch.loggers import Logger


def is_dry_run(trainer: Trainer) -> bool:
    """Say whether the Trainer only tries the code (``fast_dev_run``)."""
    return bool(getattr(trainer, "fast_dev_run", False))  # set dynamically by Lightning


def is_stream(loader: Any) -> bool:
    """Say whether samples cannot be chosen by index from what the training iterates over."""
    return not isinstance(loader, DataLoader) or isinstance(loader.dataset, IterableDataset)


def planned_steps(trainer: Trainer) -> int | None:
    """Return how many optimizer steps are planned; None without a limit."""
    total = trainer.estimated_stepping_batches
    return int(total) if total != float("inf") and total > 0 else None


def samples_in(batch: Any) -> int:
    """Return the number of samples in a batch; 0 if it does not tell."""
    try:
        return num_rows(batch)
    except DataError:
        return 0


def learning_rates(trainer: Trainer) -> list[float]:
    """Return the learning rate of every parameter group of every optimizer.

    NaN where a group has none, as with Adafactor's relative steps: the others keep their place.
    """
    groups = [g for optimizer in trainer.optimizers for g in optimizer.param_groups]
    rates = [group.get("lr") for group in groups]
    return [math.nan if rate is None else float(rate) for rate in rates]


def momenta(trainer: Trainer) -> list[float]:
    """Return the momentum of every parameter group of every optimizer, 0 where there is none."""
    groups = [g for optimizer in trainer.optimizers for g in optimizer.param_groups]
    return [float(group.get("momentum") or 0.0) for group in groups]


def rate_rows(trainer: Trainer) -> list[Row]:
    """Return the learning rates that there are as rows of the metric ``lr``."""
    rates = learning_rates(trainer)
    sites = ["optimizer"] if len(rates) == 1 else [f"optimizer.{i}" for i in range(len(rates))]
    pairs = zip(sites, rates, strict=True)
    return [Row("lr", rate, site=site) for site, rate in pairs if math.isfinite(rate)]


def of_training(trainer: Trainer, module: nn.Module) -> dict[str, Any]:
    """Return what of the training belongs into a run's configuration, as JSON can hold it."""
    return {
        "module": f"{type(module).__module__}.{type(module).__qualname__}",
        "num_parameters": sum(p.numel() for p in module.parameters()),
        "planned_steps": planned_steps(trainer),
        "precision": str(trainer.precision),
        "accumulate_grad_batches": trainer.accumulate_grad_batches,
        "world_size": trainer.world_size,
    }


def forward(records: Iterable[Record], logger: Logger, *, step: int) -> None:
    """Log the numbers as ``devtrack/<metric>`` or ``devtrack/<metric>/<site>``; no failed ones.

    Through the logger itself, not ``pl_module.log``: that would enter the training's own
    bookkeeping.
    """
    scalars = {
        f"devtrack/{r.metric}" + ("" if r.site == "model" else f"/{r.site}"): r.value
        for r in records
        if isinstance(r, Row) and r.status is not Status.FAILED
    }
    logger.log_metrics(scalars, step=step)
