"""Runs the fidelity check of one training when it is due, and keeps what it found."""

from __future__ import annotations

import math
from typing import Any

from devtrack.data.evaluation_set import BatchInfo, own_copy
from devtrack.errors import ConfigError
from devtrack.metrics.metric import LossFunction
from devtrack.model_state._private_copy import private_copy
from devtrack.model_state.fidelity import Check, Mismatch, check_copy, compare
from devtrack.model_state.isolation import isolated, take_streams
from devtrack.model_state.stub_trainer import StubTrainer
from devtrack.records import Event
from devtrack.tracking._reporter import Reporter
from devtrack.tracking._training_loss import RunObjective, loss_in
from devtrack.tracking.training_loop import TrainingLoop


class ObjectiveCheck:
    """Whether what is measured is what trains: tried at the first step, and again when it is due.

    Args:
        loop: The training.
        objective: What is measured.
        loss: The user's own objective, which need not be that of training; None: training's own.
        reporter: Hears of what is found.

    Attributes:
        is_due: Whether the next training step is to be checked.
        doubt: Why the objective is not known to be that of training; empty where it is.
    """

    def __init__(
        self,
        loop: TrainingLoop,
        objective: RunObjective,
        *,
        loss: LossFunction | None,
        reporter: Reporter,
    ) -> None:
        self.is_due = True
        self.doubt = ""
        self._loop = loop
        self._objective = objective
        self._own_loss = loss
        self._reporter = reporter
        self._found: Check | None = None
        self._is_first = True

    def before_step(self, batch: Any, info: BatchInfo) -> None:
        """Try the copy on the batch that the training step is about to be called with.

        Raises:
            ConfigError: Before the first step, if measuring would change the training.
        """
        if not self.is_due:
            return
        self.is_due = False
        is_first, self._is_first = self._is_first, False
        if self._own_loss is None and self._loop.steps_itself:
            return  # manual optimization: there is no one loss to compare
        try:
            self._found = self._try(batch, info)
        except ConfigError as error:
            if is_first:
                raise
            # too late to refuse: the module has changed since
            self._take_in(Mismatch(math.nan, math.nan, str(error)))

    def after_step(self, output: Any) -> None:
        """Compare with what the training step returned; None skips the batch."""
        found, self._found = self._found, None
        if found is None:
            return
        if output is None:
            self.is_due = True
            return
        mismatch = compare(
            found,
            loss_in(output, type(self._loop.module).__name__),
            is_compiled=self._loop.is_compiled,
            precision=self._loop.precision,
        )
        self._take_in(mismatch)

    def _try(self, batch: Any, info: BatchInfo) -> Check | None:
        streams = take_streams()
        with isolated():
            copy = private_copy(self._loop.module, StubTrainer(self._loop.stub_facts()))
        is_training = self._own_loss is None
        found = check_copy(
            self._loop.module,
            copy,
            lambda model: self._objective.call(model, own_copy(batch), info),
            streams=streams,
            context=self._loop.training_context if is_training else self._loop.measuring_context,
        )
        if found.sends:
            message = f"each call of the objective sends {', '.join(found.sends)}: measurements too"
            way_out = "loss=lambda model, batch: … measures without it"
            self._reporter.warn("objective_sends", message, {}, instead=way_out)
        return found if is_training else None

    def _take_in(self, found: Mismatch | None) -> None:
        before, self.doubt = self.doubt, "" if found is None else str(found)
        if found is not None and not before:
            message = f"the objective is not the one that trains: {found}"
            way_out = "pass loss=lambda model, batch: … to measure another objective"
            self._reporter.warn("objective_mismatch", message, found._asdict(), instead=way_out)
        elif found is None and before:
            message = "the objective is the one that trains again"
            self._reporter.add_events([Event("objective_match", message)], snapshots_wait=True)
