"""What a private copy of a LightningModule answers in its Trainer's place: where training stands.

A loss may follow a schedule (a warm-up of one of its terms by ``self.global_step``): on a copy,
which has no Trainer, Lightning would answer 0, and another function would be measured.
"""

from __future__ import annotations

import inspect
from contextlib import suppress
from functools import lru_cache
from typing import Any

from torch import nn

_ASKED = ("trainer", "global_step", "current_epoch")
_HELD = "_devtrack_stand_in"


class StandIn:
    """A Trainer that knows the step and the epoch, and says what to do where more is asked.

    Attributes:
        global_step: Optimizer steps completed.
        current_epoch: Epochs completed.
    """

    def __init__(self) -> None:
        self.global_step = 0
        self.current_epoch = 0

    def __getattr__(self, name: str) -> Any:
        """Refuse every attribute but those that are known."""
        raise AttributeError(
            f"self.trainer.{name}: devtrack measures a copy of the module, which has no Trainer and"
            f" knows its global_step and current_epoch only. Pass loss=lambda model, batch: … to "
            f"the tracker."
        )


def put_in(model: nn.Module) -> None:
    """Let each LightningModule in ``model`` answer by a stand-in that they share.

    Their classes become subclasses of the same name; what a class of the user's overrides stays,
    and so does one that refuses to be subclassed.
    """
    stand_in = StandIn()
    for module in model.modules():
        names = tuple(name for name in _ASKED if _is_lightnings(type(module), name))
        if names:
            with suppress(TypeError):  # an __init_subclass__ of the user's that wants arguments
                module.__class__ = _subclass(type(module), names)
                object.__setattr__(module, _HELD, stand_in)


def tell(model: nn.Module, *, step: int, epoch: int) -> None:
    """Tell the stand-in in ``model``, if there is one, where training stands."""
    for module in model.modules():
        stand_in = module.__dict__.get(_HELD)
        if stand_in is not None:
            stand_in.global_step, stand_in.current_epoch = step, epoch


def _is_lightnings(kind: type, name: str) -> bool:
    found = inspect.getattr_static(kind, name, None)
    package = getattr(getattr(found, "fget", None), "__module__", "").partition(".")[0]
    return package in ("lightning", "pytorch_lightning")


@lru_cache(maxsize=64)
def _subclass(kind: type, names: tuple[str, ...]) -> type:
    own: dict[str, Any] = {
        "trainer": property(lambda self: self.__dict__[_HELD]),
        "global_step": property(lambda self: self.__dict__[_HELD].global_step),
        "current_epoch": property(lambda self: self.__dict__[_HELD].current_epoch),
    }
    known = {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
    return type(kind)(kind.__name__, (kind,), {name: own[name] for name in names} | known)
