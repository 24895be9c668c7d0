"""What a private copy of a LightningModule finds in its Trainer's place: facts, nothing to act on.

A training step may ask where training stands (``self.global_step``), how long it is
(``self.trainer.max_epochs``), or what the learning rate is (``self.optimizers()``), and may report
(``self.logger.experiment``). A copy must answer as the Trainer would, and must change nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

SILENCED = ("log", "log_dict", "print")
"""Methods of a LightningModule that report; on a copy they do nothing."""


class Swallow:
    """Takes every call, attribute and item, and does nothing: a logger of a private copy."""

    def __getattr__(self, name: str) -> Swallow:
        """Return itself."""
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> Swallow:
        """Return itself."""
        return self

    def __getitem__(self, key: Any) -> Swallow:
        """Return itself."""
        return self

    def __enter__(self) -> Swallow:
        """Return itself."""
        return self

    def __exit__(self, *args: Any) -> None:
        """Do nothing."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Swallow:
        return self


class StubOptimizer:
    """An optimizer's settings without its power to act.

    Attributes:
        param_groups: As the optimizer has them, without the parameters.
    """

    def __init__(self, param_groups: list[dict[str, Any]]) -> None:
        self.param_groups = param_groups

    @property
    def optimizer(self) -> StubOptimizer:
        """The optimizer itself, as Lightning's wrapper has it."""
        return self

    def __getattr__(self, name: str) -> Any:
        """Refuse everything that an optimizer could do."""
        raise AttributeError(_refusal(f"self.optimizers().{name}", "an optimizer's param_groups"))


class StubScheduler:
    """A learning-rate scheduler that can say its rates only."""

    def __init__(self, rates: list[float]) -> None:
        self._rates = rates

    def get_last_lr(self) -> list[float]:
        """Return the learning rate of every parameter group."""
        return list(self._rates)

    def __getattr__(self, name: str) -> Any:
        """Refuse everything that a scheduler could do."""
        raise AttributeError(_refusal(f"self.lr_schedulers().{name}", "get_last_lr()"))


class StubTrainer:
    """Answers a private copy's questions about its training.

    Args:
        facts: Attributes of the Trainer by name, such as ``max_epochs``; see
            ``trainer_facts.known``.

    Attributes:
        global_step: Optimizer steps completed.
        current_epoch: Epochs completed.
    """

    def __init__(self, facts: Mapping[str, Any] | None = None) -> None:
        self.global_step = 0
        self.current_epoch = 0
        self.optimizers: list[StubOptimizer] = []
        self.lr_schedulers: list[StubScheduler] = []
        self.loggers: list[Swallow] = []
        self.world_size, self.global_rank, self.local_rank = 1, 0, 0
        self.training, self.sanity_checking = True, False
        self.__dict__.update(facts or {})

    @property
    def logger(self) -> Swallow | None:
        """The first logger, which swallows what it gets; None if the training has none."""
        return self.loggers[0] if self.loggers else None

    @property
    def is_global_zero(self) -> bool:
        """Whether this is the first process."""
        return self.global_rank == 0

    @property
    def strategy(self) -> StubTrainer:
        """The one that ``LightningModule.optimizers`` asks."""
        return self

    @property
    def _lightning_optimizers(self) -> Any:
        return self.optimizers[0] if len(self.optimizers) == 1 else self.optimizers

    @property
    def lr_scheduler_configs(self) -> list[_Config]:
        """The ones that ``LightningModule.lr_schedulers`` asks."""
        return [_Config(scheduler) for scheduler in self.lr_schedulers]

    def __getattr__(self, name: str) -> Any:
        """Refuse every attribute but those that are known."""
        known = sorted(key for key in self.__dict__ if not key.startswith("_"))
        raise AttributeError(_refusal(f"self.trainer.{name}", ", ".join(known)))

    def __deepcopy__(self, memo: dict[int, Any]) -> StubTrainer:
        return self  # facts; nothing of it is written to


class _Config:
    def __init__(self, scheduler: StubScheduler) -> None:
        self.scheduler = scheduler


def attach_stub(model: nn.Module, stub: StubTrainer) -> None:
    """Let each LightningModule in ``model`` find ``stub`` as its Trainer, and report nothing."""
    for module in model.modules():
        if is_lightning(type(module)):
            object.__setattr__(module, "_trainer", stub)
            for name in SILENCED:
                object.__setattr__(module, name, _nothing)


def stub_of(model: nn.Module) -> StubTrainer | None:
    """Return what a copy finds as its Trainer; None for a module that is no copy."""
    found = (module.__dict__.get("_trainer") for module in model.modules())
    return next((one for one in found if isinstance(one, StubTrainer)), None)


def is_lightning(kind: type) -> bool:
    """Say whether a class is a LightningModule, of either of its two packages."""
    return any(
        one.__name__ == "LightningModule" and "lightning" in one.__module__ for one in kind.__mro__
    )


def _refusal(asked: str, known: str) -> str:
    return (
        f"{asked}: devtrack measures a copy of the module, which has no Trainer and knows {known} "
        f"only. Pass loss=lambda model, batch: … to the tracker."
    )


def _nothing(*args: Any, **kwargs: Any) -> None:
    """Stand in for LightningModule.log on a copy."""
