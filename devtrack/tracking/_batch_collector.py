"""Grows the evaluation set from the batches of one training, and keeps it over resumes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from devtrack.data._private_data import can_be_copied
from devtrack.data.evaluation_set import BatchInfo, EvaluationSet, samples_of
from devtrack.metrics.metric import BatchMaker
from devtrack.model_state._reachable_globals import kept_globals
from devtrack.records import Event
from devtrack.tracking._checkpoint_state import CheckpointState
from devtrack.tracking._training_events import evalset_change
from devtrack.tracking.training_loop import TrainingLoop


class BatchCollector:
    """The batches that a run is measured on, from the first that reaches its training step.

    Args:
        loop: The training.
        evaluation_set: Grown, or replaced by that of the run before a resume.
        run_dir: The run's folder, which keeps the set.
        checkpoint_state: Says which data the run was measured on before a resume.
        is_resumed: Whether the training continues a run.
        make_batches: Chooses batches of a loader (see ``TrainingLoop.batch_maker``).
    """

    def __init__(
        self,
        loop: TrainingLoop,
        evaluation_set: EvaluationSet,
        *,
        run_dir: Path,
        checkpoint_state: CheckpointState,
        is_resumed: bool,
        make_batches: BatchMaker,
    ) -> None:
        self.set = evaluation_set
        self._loop = loop
        self._run_dir = run_dir
        self._checkpoint_state = checkpoint_state
        self._awaits_old_set = is_resumed and not evaluation_set.is_complete
        self._make_batches = make_batches
        self._saw_start_of_epoch = self._has_added = False

    def before_step(self, batch: Any, info: BatchInfo) -> list[Event]:
        """Take in a batch that reaches the training step; return what there is to say."""
        events: list[Event] = []
        self._has_added = False
        if self._awaits_old_set:
            self._awaits_old_set = False
            device = self._loop.device
            events = self.set.load(self._run_dir, like=batch, device=device)
        if not self.set.is_complete:
            self._saw_start_of_epoch = self._saw_start_of_epoch or info.batch_idx == 0
            self._has_added = self.set.add(batch, info)
        return events

    def skip(self) -> None:
        """Take back the batch of this step: training skips it."""
        if self._has_added:
            self.set.drop_last()
            self._has_added = False

    def end_batch(self) -> None:
        """Complete the set at the end of an epoch: what comes after are the same samples."""
        is_whole = self._saw_start_of_epoch and self._loop.is_last_batch
        if is_whole and self.set.batches:
            self.set.complete()

    def end_training(self) -> None:
        """Fill the set of a training that ended early from a copy of its loader, if it has one."""
        loader: Any = self._loop.loader
        if self.set.is_complete or not self.set.batches or not can_be_copied(loader):
            return
        if self._loop.batches_per_epoch < len(loader):
            return  # training would never have seen the rest
        with kept_globals(type(loader.dataset)):
            batches = self._make_batches(loader)
        if sum(map(samples_of, batches)) > self.set.num_samples:
            self.set.replace(batches)

    def settle(self, *, keeps: bool) -> list[Event]:
        """Keep the complete set for the run; return what there is to say of it.

        Args:
            keeps: Write it to the run's folder, unless it is there.
        """
        before, self._checkpoint_state.measured_on = self._checkpoint_state.measured_on, None
        self._checkpoint_state.measured_on = self.set.fingerprint()
        events = [
            *self.set.take_events(),
            *evalset_change(before, self._checkpoint_state.measured_on),
        ]
        if keeps and self.set.batches and not self.set.is_saved:
            events += self.set.save(self._run_dir)
        return events

    def info(self, args: tuple[Any, ...]) -> BatchInfo:
        """Return what training knows of a batch beside its content.

        Args:
            args: Of the training step.
        """
        batch_idx, dataloader_idx = (*args[1:3], 0, 0)[:2]
        count = self._loop.count_samples(args[0], batch_idx)
        return BatchInfo(count, batch_idx, dataloader_idx)
