"""What a session asks of the training that it observes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn

from devtrack.data._fixed_batches import fixed_batches, to_device
from devtrack.data.evaluation_set import own_copy, samples_of
from devtrack.errors import ConfigError
from devtrack.metrics.metric import BatchMaker
from devtrack.model_state._private_copy import eager, is_initialized
from devtrack.model_state.isolation import isolated
from devtrack.records import Record, Row


class TrainingLoop:
    """One training as a session sees it: a base class with answers for a plain loop.

    A door for another trainer overrides what its trainer knows better. Nothing here changes the
    training, but for ``stop`` and ``save_checkpoint``, which only a monitor's actions call.

    Args:
        module: The module that trains.
        optimizers: Its optimizers, for learning rates and momenta.
        total_steps: Optimizer steps planned; None without a limit.

    """

    def __init__(
        self,
        module: nn.Module,
        *,
        optimizers: Sequence[torch.optim.Optimizer] = (),
        total_steps: int | None = None,
    ) -> None:
        self.module = module
        self._optimizers = optimizers
        self._total_steps = total_steps
        self._step = self._epoch = 0

    # Facts

    @property
    def step(self) -> int:
        """Optimizer steps completed."""
        return self._step

    @property
    def epoch(self) -> int:
        """Epochs completed."""
        return self._epoch

    def advance(self, *, step: int, epoch: int = 0) -> None:
        """Say where the training stands.

        Args:
            step: Optimizer steps completed.
            epoch: Epochs completed.
        """
        self._step, self._epoch = step, epoch

    @property
    def optimizers(self) -> Sequence[Any]:
        """The optimizers, each with ``param_groups``."""
        return self._optimizers

    @property
    def total_steps(self) -> int | None:
        """Optimizer steps planned; None without a limit."""
        return self._total_steps

    @property
    def device(self) -> torch.device:
        """Where the module trains."""
        first = next(self.module.parameters(), None)
        return torch.device("cpu") if first is None else first.device

    @property
    def world_size(self) -> int:
        """Number of processes."""
        return 1

    @property
    def precision(self) -> str:
        """The training's precision, in Lightning's words, e.g. ``"bf16-mixed"``."""
        return "32-true"

    @property
    def loader(self) -> Any:
        """What the training iterates over; None if that is not known."""
        return None

    @property
    def is_last_batch(self) -> bool:
        """Whether the batch is the last of its epoch."""
        return False

    @property
    def batches_per_epoch(self) -> float:
        """Batches that an epoch takes of the loader; inf without a limit."""
        return math.inf

    @property
    def steps_itself(self) -> bool:
        """Whether the module's training step steps its optimizers (manual optimization)."""
        return not getattr(self.module, "automatic_optimization", True)

    @property
    def is_compiled(self) -> bool:
        """Whether the module or a part of it runs compiled."""
        if self.module.__dict__.get("_compiler_ctx") is not None:
            return True
        parts = list(self.module.modules())
        return any(eager(one) is not one or one._compiled_call_impl is not None for one in parts)

    def learning_rates(self) -> list[float]:
        """Return the learning rate of every parameter group of every optimizer.

        A group without one, as with Adafactor's relative steps, has NaN.
        """
        rates = [group.get("lr") for group in self._groups()]
        return [math.nan if rate is None else float(rate) for rate in rates]

    def momenta(self) -> list[float]:
        """Return the momentum of every parameter group of every optimizer; 0 without one."""
        return [float(group.get("momentum") or 0.0) for group in self._groups()]

    def _groups(self) -> list[dict[str, Any]]:
        return [group for optimizer in self.optimizers for group in optimizer.param_groups]

    def rate_rows(self) -> list[Row]:
        """Return the learning rates that exist as rows of the metric ``lr``."""
        rates = self.learning_rates()
        sites = ["optimizer"] if len(rates) == 1 else [f"optimizer.{i}" for i in range(len(rates))]
        pairs = zip(sites, rates, strict=True)
        return [Row("lr", rate, site=site) for site, rate in pairs if math.isfinite(rate)]

    def describe(self) -> dict[str, Any]:
        """Return what belongs into the run's configuration, JSON-serialisable."""
        module = self.module
        known = is_initialized(module)
        return {
            "module": f"{type(module).__module__}.{type(module).__qualname__}",
            "num_parameters": sum(p.numel() for p in module.parameters()) if known else None,
            "planned_steps": self.total_steps,
            "precision": self.precision,
            "world_size": self.world_size,
        }

    def stub_facts(self) -> dict[str, Any]:
        """Return the facts that a private copy may ask its trainer for (see ``StubTrainer``)."""
        return {}

    # Data

    def count_samples(self, batch: Any, batch_idx: int) -> int:
        """Return the samples in a batch of the training."""
        return samples_of(batch)

    def ready(self, batch: Any) -> Any:
        """Return a batch of the user's own data as the training step would get it."""
        return to_device([batch], self.device)[0]

    def batch_maker(self, *, num_samples: int, seed: int) -> BatchMaker:
        """Return the function that chooses fixed batches of a user's own data.

        Args:
            num_samples, seed: As for ``fixed_batches``.
        """

        def make_batches(data: Any) -> list[Any]:
            with isolated(seed=seed):  # the module's hooks may draw from the global streams
                batches = fixed_batches(data, num_samples=num_samples, seed=seed)
                return [self.ready(own_copy(batch)) for batch in batches]

        return make_batches

    # Contexts

    @property
    def measuring_context(self) -> Callable[[], AbstractContextManager[Any]]:
        """The context of every measurement: new tensors have the training's precision."""
        return nullcontext

    @property
    def training_context(self) -> Callable[[], AbstractContextManager[Any]]:
        """The context in which the training step runs, with its autocast."""
        return nullcontext

    # Loggers and actions

    @property
    def loggers(self) -> Sequence[Any]:
        """Loggers of the training, each with ``log_metrics(numbers, step)``."""
        return ()

    def logger_step(self, *, in_batch: bool) -> int:
        """Return the position of the present on the loggers' axis.

        Args:
            in_batch: Whether a batch has stepped that the trainer has not counted yet.
        """
        return self.step

    def forward(self, records: Iterable[Record], logger: Any, *, step: int) -> None:
        """Hand the numbers of records to one of the loggers."""

    def stop(self) -> None:
        """End the training after this step."""
        raise ConfigError(_no_action(self, "stop", "StopTraining"))

    def save_checkpoint(self, path: str | Path) -> None:
        """Write the full training state."""
        raise ConfigError(_no_action(self, "save_checkpoint", "SaveCheckpoint"))


def _no_action(loop: TrainingLoop, method: str, action: str) -> str:
    return (
        f"{action} in a {type(loop).__name__}: this loop cannot do it. "
        f"Override {method}, or leave the action out."
    )
