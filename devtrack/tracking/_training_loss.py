"""The training objective as a plain function of (model, batch), the same at every call."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from devtrack.data.evaluation_set import BatchInfo, own_copy, samples_of
from devtrack.errors import MetricError
from devtrack.model_state._object_graph import tensor_versions
from devtrack.model_state._python_state import PythonState, module_state
from devtrack.sampling._user_loss import LossFunction, allow_gradients, call_loss

_UNKNOWN = BatchInfo(1)  # of a batch that no training step was called with


class RunObjective:
    """The objective of one run: the module's ``training_step``, or the user's own ``loss``.

    Training calls it once per batch and lives with what it leaves behind. A measurement calls it
    again and again: it must find the same attributes on the module and the same batch. What the
    first calls show is remembered for the run, so that a step without such habits costs nothing.

    Args:
        loss: Maps (model, batch) to the loss; the module's ``training_step`` if None.
        infos: Returns what the training step was called with, by the id of a batch's object.
        context: Entered around every call, e.g. for the precision of new tensors.

    Attributes:
        keeps_state: Whether a call changes the module's Python state, which is then put back.
        writes_batch: Whether a call writes into its batch, which is then handed out as a copy.
    """

    def __init__(
        self,
        loss: LossFunction | None = None,
        *,
        infos: Callable[[int], BatchInfo | None] = lambda key: None,
        context: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        self.loss = loss
        self.keeps_state = False
        self.writes_batch: bool | None = None
        self._infos = infos
        self._context = context

    def call(self, model: nn.Module, batch: Any, info: BatchInfo | None = None) -> torch.Tensor:
        """Return the objective, as training calls it.

        Args:
            model: A private copy.
            batch: What reaches the training step.
            info: What the step was called with beside it; looked up if None.
        """
        info = self.info_of(batch) if info is None else info
        with self._context():
            if self.loss is not None:
                return call_loss(self.loss, model, batch)
            return training_step_loss(
                model, batch, batch_idx=info.batch_idx, dataloader_idx=info.dataloader_idx
            )

    def info_of(self, batch: Any) -> BatchInfo:
        """Return what the training step was called with beside this batch."""
        return self._infos(id(batch)) or _UNKNOWN

    def count(self, batch: Any) -> int:
        """Return the samples in a batch, as training counts them where it met the batch."""
        info = self.info_of(batch)
        return samples_of(batch) if info is _UNKNOWN else info.num_samples

    def bind(self, model: nn.Module) -> BoundObjective:
        """Return the function of (model, batch) for measurements on ``model``."""
        return BoundObjective(self, model)


class BoundObjective:
    """The objective for one metric on one private copy.

    Attributes:
        num_calls: Calls so far.
    """

    def __init__(self, objective: RunObjective, model: nn.Module) -> None:
        self.num_calls = 0
        self._objective = objective
        self._model = model
        self._first = next(model.parameters(), None)
        self._taken: PythonState | None = None
        self._call = allow_gradients(self._protected)

    def __call__(self, model: nn.Module, batch: Any) -> torch.Tensor:
        """Return the objective on a batch; both are left as they are."""
        self.num_calls += 1
        state = self._state()
        if self._objective.keeps_state:
            state.restore(exchanged=self._is_exchanged())
        return self._call(model, batch)

    def left_behind(self) -> bool:
        """Say whether calls have changed the module's Python state without being put back."""
        quiet = not self.num_calls or self._objective.keeps_state
        return not quiet and bool(self._state().changes())

    def _state(self) -> PythonState:
        """Return the module's Python state as it was before the first call."""
        if self._taken is None:
            self._taken = module_state(self._model)
        return self._taken

    def _is_exchanged(self) -> bool:
        """Say whether a sampler has put other weights and buffers into the model for this call."""
        return next(self._model.parameters(), None) is not self._first

    def _protected(self, model: nn.Module, batch: Any) -> torch.Tensor:
        objective = self._objective
        info = objective.info_of(batch)
        if objective.writes_batch is False:
            value = objective.call(model, batch, info)
        else:
            lent = own_copy(batch)
            before = tensor_versions(lent)
            value = objective.call(model, lent, info)
            objective.writes_batch = bool(objective.writes_batch) or tensor_versions(lent) != before
        if self.num_calls == 1 and not objective.keeps_state:
            objective.keeps_state = bool(self._state().changes(exchanged=self._is_exchanged()))
        return value


def training_step_loss(
    model: nn.Module, batch: Any, *, batch_idx: int = 0, dataloader_idx: int = 0
) -> torch.Tensor:
    """Return what ``model.training_step`` returns as loss.

    Args:
        model: A LightningModule, detached from its Trainer (a copy), with ``log`` silenced.
        batch: What reaches the training step.
        batch_idx, dataloader_idx: Handed on if the step asks for them.

    Raises:
        MetricError: If there is no ``training_step``, if it steps optimizers itself or fetches its
            own batches, or if it returns no loss.
    """
    step = getattr(model, "training_step", None)
    if step is None:
        raise MetricError(
            f"{type(model).__name__} without training_step: the loss is unknown. Pass "
            f"loss=lambda model, batch: … to the tracker."
        )
    if not getattr(model, "automatic_optimization", True):
        raise MetricError(
            f"{type(model).__name__} with manual optimization: its training_step takes optimizer "
            f"steps and cannot serve as a loss. Pass loss=lambda model, batch: … to the tracker."
        )
    if fetches_batches(step):
        raise MetricError(
            f"training_step of {type(model).__name__} takes a dataloader_iter: it fetches its own "
            f"batches and cannot serve as a loss on fixed ones. Pass loss=lambda model, batch: … "
            f"and data= to the tracker."
        )
    extra = (batch_idx, dataloader_idx)[: _num_after_batch(step)]
    return loss_in(step(batch, *extra), type(model).__name__)


def loss_in(output: Any, name: str) -> torch.Tensor:
    """Return the loss of what a training step returned.

    Args:
        output: A tensor, or a mapping with ``loss``.
        name: The module's class.

    Raises:
        MetricError: If there is none.
    """
    loss = output.get("loss") if isinstance(output, Mapping) else output
    if not isinstance(loss, torch.Tensor):
        raise MetricError(
            f"training_step of {name} returned {type(output).__name__}: must be a "
            f"tensor or a dict with 'loss'. Pass loss=lambda model, batch: … to the tracker."
        )
    return loss


def fetches_batches(step: Any) -> bool:
    """Say whether a training step fetches its own batches (Lightning's ``dataloader_iter``)."""
    if step is None:
        return False
    return "dataloader_iter" in _positional(getattr(step, "__func__", step))


def _num_after_batch(step: Any) -> int:
    function = getattr(step, "__func__", step)
    return len(_positional(function)) - (1 if function is step else 2)  # the batch; self, if bound


@lru_cache(maxsize=64)
def _positional(function: Any) -> tuple[str, ...]:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return tuple(
        name for name, p in inspect.signature(function).parameters.items() if p.kind in kinds
    )
