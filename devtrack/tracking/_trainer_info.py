"""What can be read off a Trainer, and the one thing handed to it: numbers for its loggers."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from torch import nn

from devtrack.model_state.private_copy import eager, is_initialized
from devtrack.model_state.stub_trainer import StubOptimizer, StubScheduler, Swallow
from devtrack.records import Record, Row, Status

if TYPE_CHECKING:
    from lightning.pytorch import Trainer
    from lightning.pytorch.loggers import Logger


def is_dry_run(trainer: Trainer) -> bool:
    """Say whether the Trainer only tries the code (``fast_dev_run``)."""
    return bool(getattr(trainer, "fast_dev_run", False))  # set dynamically by Lightning


def planned_steps(trainer: Trainer) -> int | None:
    """Return how many optimizer steps are planned; None without a limit."""
    total = trainer.estimated_stepping_batches
    return int(total) if total != float("inf") and total > 0 else None


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


def known(trainer: Trainer) -> dict[str, Any]:
    """Return the facts that a copy of the module may ask its Trainer for (see ``StubTrainer``)."""
    facts = {name: _attribute(trainer, name) for name in _FACTS}
    facts = {name: value for name, value in facts.items() if value is not _UNKNOWN}
    metrics = {k: v.detach().clone() for k, v in trainer.callback_metrics.items()}
    return facts | {
        "datamodule": copy.copy(_attribute(trainer, "datamodule", None)),
        "estimated_stepping_batches": planned_steps(trainer) or math.inf,
        "root_device": trainer.strategy.root_device,
        "callback_metrics": metrics,
        "loggers": [Swallow() for _ in trainer.loggers],
        "optimizers": [StubOptimizer(_settings(one)) for one in trainer.optimizers],
        "lr_schedulers": [StubScheduler(_rates(one)) for one in trainer.lr_scheduler_configs],
    }


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


def steps_itself(module: nn.Module) -> bool:
    """Say whether the module's training step steps its optimizers (manual optimization)."""
    return not getattr(module, "automatic_optimization", True)


def is_compiled(module: nn.Module) -> bool:
    """Say whether the module or a part of it runs compiled."""
    if module.__dict__.get("_compiler_ctx") is not None:
        return True
    parts = list(module.modules())
    return any(eager(part) is not part or part._compiled_call_impl is not None for part in parts)


def logger_step(trainer: Trainer, *, in_batch: bool) -> int:
    """Return where the training's own numbers of now lie on the axis of its loggers.

    It counts the batches that stepped: with several optimizers ``global_step`` counts each of them.

    Args:
        trainer: Of the training.
        in_batch: Whether a batch has stepped that Lightning has not counted yet.
    """
    if not steps_itself(trainer.lightning_module):
        return trainer.global_step
    return trainer.fit_loop.epoch_loop._batches_that_stepped + in_batch


def rate_rows(trainer: Trainer) -> list[Row]:
    """Return the learning rates that there are as rows of the metric ``lr``."""
    rates = learning_rates(trainer)
    sites = ["optimizer"] if len(rates) == 1 else [f"optimizer.{i}" for i in range(len(rates))]
    pairs = zip(sites, rates, strict=True)
    return [Row("lr", rate, site=site) for site, rate in pairs if math.isfinite(rate)]


def of_training(trainer: Trainer, module: nn.Module) -> dict[str, Any]:
    """Return what of the training belongs into a run's configuration, as JSON can hold it."""
    num_parameters = sum(p.numel() for p in module.parameters()) if is_initialized(module) else None
    return {
        "module": f"{type(module).__module__}.{type(module).__qualname__}",
        "num_parameters": num_parameters,
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
