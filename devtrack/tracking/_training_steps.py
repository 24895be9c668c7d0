"""Listens at the door of the training step: what goes in, and what comes out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class StepListener:
    """Calls two functions around the first training step of every batch.

    Lightning hands each batch to ``strategy.training_step``, after all hooks have seen it. Nothing
    of the module is touched.

    Args:
        strategy: The Trainer's.
        before: Gets the arguments of the training step.
        after: Gets what it returned.
    """

    def __init__(
        self,
        strategy: Any,
        *,
        before: Callable[[tuple[Any, ...]], None],
        after: Callable[[Any], None],
    ) -> None:
        self._strategy = strategy
        self._before = before
        self._after = after
        self._own = strategy.training_step
        self._is_listening = True
        self._awaits_step = False
        strategy.training_step = self._call

    def expect(self) -> None:
        """Listen to the next step: a batch begins. A closure may call it again for one batch."""
        self._awaits_step = True

    def stop(self) -> None:
        """Listen no more, and leave the strategy as it was."""
        self._is_listening = False
        if self._strategy.__dict__.get("training_step") == self._call:
            del self._strategy.__dict__["training_step"]
            if getattr(self._own, "__self__", None) is not self._strategy:  # another listener's
                self._strategy.training_step = self._own

    def _call(self, *args: Any, **kwargs: Any) -> Any:
        if not (self._is_listening and self._awaits_step):
            return self._own(*args, **kwargs)
        self._awaits_step = False
        self._before(args)
        output = self._own(*args, **kwargs)
        self._after(output)
        return output
