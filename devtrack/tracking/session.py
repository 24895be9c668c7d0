"""One attempt of a run under observation: from the training's steps to rows in the store."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from devtrack.data.evaluation_set import EvaluationSet
from devtrack.errors import ConfigError
from devtrack.model_state import snapshots
from devtrack.model_state._private_copy import eager, is_initialized, private_copy
from devtrack.model_state.isolation import isolated
from devtrack.model_state.stub_trainer import StubTrainer
from devtrack.monitoring.monitor import start_monitoring
from devtrack.records import Event, Record, Row, TrainingProgress
from devtrack.schedules import Cursor
from devtrack.store import Store, Writer, open_store
from devtrack.store.estimate_readers import read_unmeasured_snapshots
from devtrack.store.readers import read_last_step
from devtrack.tracking._batch_collector import BatchCollector
from devtrack.tracking._checkpoint_state import CheckpointState
from devtrack.tracking._fault_isolation import FaultBarrier
from devtrack.tracking._held_snapshot import HeldSnapshot
from devtrack.tracking._objective_check import ObjectiveCheck
from devtrack.tracking._observer import Cost, Observer
from devtrack.tracking._reporter import Reporter
from devtrack.tracking._runs import new_run, resumed, run_to_continue
from devtrack.tracking._settings import Settings
from devtrack.tracking._training_events import LearningRateWatch, optimizer_start
from devtrack.tracking._training_loss import RunObjective, fetches_batches
from devtrack.tracking._validation import require_copy
from devtrack.tracking.training_loop import TrainingLoop


class Session:
    """What happens beside one training, from its first step to its last.

    Made at the start of training by the process that observes. Snapshots are taken when they are
    due, and measured as soon as the evaluation set is complete; their rows carry their own steps.

    Args:
        settings: The tracker's.
        loop: The training that starts.
        origin: The tracker's state in the checkpoint that the training resumes; None without one.
        say: Tells the user something that is no warning.

    Attributes:
        run_id: Of the run.
        samples_seen: Training samples so far.
        checkpoint_state: What the run carries over a resume.

    Raises:
        ConfigError: If the module cannot be copied.
        DataError: If no batches can be made of the user's own ``data``.
        StoreError: If the store cannot be opened.
    """

    def __init__(
        self,
        settings: Settings,
        loop: TrainingLoop,
        *,
        origin: dict[str, Any] | None,
        say: Callable[[str], None],
    ) -> None:
        since, step = time.perf_counter(), loop.step
        self._settings = settings
        self._loop, self._module = loop, loop.module
        self._say = say
        self._faults = FaultBarrier()
        self._make_batches = loop.batch_maker(num_samples=settings.num_samples, seed=settings.seed)
        own = None if settings.data is None else self._make_batches(settings.data)
        require_copy(loop.module)  # refused, as data are, before a run is made
        store = open_store(settings.store, create=True)
        state, config = origin or {}, settings.describe() | loop.describe()
        parent, info, seen = state.get("run_id"), None, None
        if settings.resume and parent is not None and step > 0:
            info = run_to_continue(store, parent, name=settings.name)
        self._is_new = info is None
        self.samples_seen = int(state.get("samples_seen", 0))
        self.checkpoint_state = (
            CheckpointState() if info is None else CheckpointState.of_state(state)
        )
        changed = self.checkpoint_state.configure(config["metrics"])
        if info is None:
            name = settings.name or type(loop.module).__name__
            info = store.create_run(new_run(name, config, parent=parent, step=step))
        else:
            seen = read_last_step(store, info.run_id)
        self.run_id = info.run_id
        self._run_dir = settings.store / self.run_id
        writer = store.writer(info, keep_through_step=None if self._is_new else step)
        self._cursor = Cursor(settings.schedule, total=loop.total_steps, start=step)
        self._rates = LearningRateWatch()
        self._held: deque[HeldSnapshot] = deque()
        self._set = EvaluationSet(
            num_samples=settings.num_samples,
            max_bytes=1e9 * settings.max_data_gb,
            keep_on_cpu=settings.data_on_cpu,
        )
        objective = RunObjective(
            settings.loss, infos=self._set.infos.get, context=loop.measuring_context
        )
        self._observer = self._make_observer(writer, objective, since)
        self._reporter = self._make_reporter(store)
        self._check = ObjectiveCheck(loop, objective, loss=settings.loss, reporter=self._reporter)
        self._first_rates = self._rate_rows()  # by the first step, an optimizer may be in its own
        self._awaits_first = self._is_new
        self._is_due = self._is_measuring = False
        self._reporter.add_events([*self._first_events(writer, config, seen, origin), *changed])
        self._faults.warn_of_changes(changed)
        if own is not None:
            self._set.replace(own)
        self._batches = BatchCollector(
            loop,
            self._set,
            run_dir=self._run_dir,
            checkpoint_state=self.checkpoint_state,
            is_resumed=not self._is_new,
            make_batches=self._make_batches,
        )
        if own is not None:
            self._settle_set()
        if not self._is_new:
            with self._faults.contain("find what was left unmeasured", instead=self._hint):
                self._recover(store, step)

    # From the training

    def before_step(self, args: tuple[Any, ...]) -> None:
        """Take in what the training step is about to be called with.

        Raises:
            ConfigError: At the first step, if measuring would change the training.
        """
        refusal = None
        with self._faults.contain("look at a batch", instead=self._hint):
            try:
                self._begin_batch(args)
            except ConfigError as error:
                refusal = error
        if refusal is not None:
            self._held.clear()  # nothing may be measured
            raise refusal

    def after_step(self, output: Any) -> None:
        """Take in what the training step returned."""
        with self._faults.contain("compare the loss", instead="it goes unchecked"):
            if output is None and not self._loop.steps_itself:
                self._batches.skip()
            self._check.after_step(output)

    def after_batch(self, batch: Any, batch_idx: int) -> None:
        """Observe if a scheduled step was crossed."""
        loop = self._loop
        self.samples_seen += loop.count_samples(batch, batch_idx) * loop.world_size
        with self._faults.contain("read the learning rates", instead="their changes go unrecorded"):
            events = self._rates.update(loop.learning_rates())
            self._reporter.add_events(events, snapshots_wait=bool(self._held))
        self._is_due = self._cursor.due(loop.step) or self._is_due
        if self._is_due and self._is_affordable() and is_initialized(self._module):
            self._is_due = False
            self._take(in_batch=True)
        self._batches.end_batch()
        self._measure_held()

    def is_waiting(self) -> bool:
        """Say whether a snapshot may be measured before the next scheduled step."""
        return self._is_due or bool(self._held) or not self._set.is_complete

    def save(self) -> None:
        """Write all rows to disk, so that no checkpoint is ahead of its run."""
        with self._faults.contain("write its rows", instead=self._hint):
            self._observer.drain()

    def finish(self) -> None:
        """Observe the final weights, and measure what waits."""
        with self._faults.contain("complete its data", instead="it is measured on fewer"):
            self._batches.end_training()
        self._set.complete("training ended")
        self._awaits_first = False
        observer, step = self._observer, self._loop.step
        if not is_initialized(self._module):
            return
        if observer.last_step != step:
            self._take()
        self._measure_held(is_end=True)
        if observer.has_skipped:
            with self._faults.contain("observe the last step", instead=self._hint):
                with isolated():
                    held = HeldSnapshot(
                        private_copy(self._module, self._stub()), self._progress(), []
                    )
                records = observer.measure_skipped(held, doubt=self._check.doubt)
                self._reporter.report(held, records)

    def interrupt(self, exception: BaseException) -> None:
        """Measure what waits of a training that broke off, and say so in the run."""
        self._reporter.add_events(
            [Event("interrupted", f"{type(exception).__name__}: {exception}")]
        )
        self._set.complete("training broke off")
        if not self._is_measuring:  # else it was a measurement that the user has interrupted
            self._measure_held()

    def close(self) -> None:
        """Write everything and release the store."""
        for held in self._held:
            held.discard()
        with self._faults.contain("write its last rows", instead=self._hint):
            cost: Cost = self._observer.close(self._progress())
            self._say(f"devtrack: {cost} -> {self._run_dir}")
        self._reporter.warn_of_snapshots()

    def state(self) -> dict[str, Any]:
        """Return what a resumed training needs to continue this run."""
        self.checkpoint_state.observations = self._observer.count
        return {
            "run_id": self.run_id,
            "samples_seen": self.samples_seen,
        } | self.checkpoint_state.state()

    # Opening

    def _make_observer(self, writer: Writer, objective: RunObjective, since: float) -> Observer:
        settings = self._settings
        return Observer(
            writer,
            metrics=settings.metrics,
            loss=objective,
            make_batches=self._make_batches,
            renew=self._set.renew,
            seed=settings.seed,
            metric_state=self.checkpoint_state.metric_state,
            trainable=self.checkpoint_state.trainable,
            count=self.checkpoint_state.observations,
            save_weights=settings.snapshots,
            max_overhead=settings.max_overhead,
            since=since,
        )

    def _make_reporter(self, store: Store) -> Reporter:
        settings, monitor_session = self._settings, None
        through_step = None if self._is_new else self._loop.step
        with self._faults.contain("begin to watch", instead="changes and violations go unnoticed"):
            monitor_session = start_monitoring(settings.monitor, store, self.run_id, through_step)
        return Reporter(
            self._observer,
            self._loop,
            self._faults,
            monitor_session=monitor_session,
            cursor=self._cursor,
            run_dir=self._run_dir,
            progress=self._progress,
            use_loggers=settings.use_loggers,
            seed=settings.seed,
            hint=self._hint,
        )

    def _first_events(
        self,
        writer: Writer,
        config: dict[str, Any],
        seen: int | None,
        origin: dict[str, Any] | None,
    ) -> list[Event]:
        if not self._is_new:
            step = self._loop.step
            event = resumed(step, attempt=writer.attempt, seen=seen, config=config)
            self._say(
                f"devtrack: {self.run_id} {event.message}. "
                f"Tracker(resume=False), or another name=, begins a run of its own."
            )
            return [event]
        if origin is None:  # an optimizer from a checkpoint has its momentum already
            with self._faults.contain("read the momentum", instead="its start goes unrecorded"):
                return optimizer_start(self._loop.momenta())
        return []

    def _recover(self, store: Store, step: int) -> None:
        """Hold the snapshots again that an earlier attempt took and did not come to measure."""
        for progress, path in read_unmeasured_snapshots(store, self.run_id, through_step=step):
            with isolated():
                copy = private_copy(self._module, self._stub())
            snapshots.load_into(copy, snapshots.read(self._run_dir / path))
            self._held.append(HeldSnapshot(copy, progress, []))

    # The evaluation set

    def _begin_batch(self, args: tuple[Any, ...]) -> None:
        if not is_initialized(self._module):
            return
        fetches = fetches_batches(getattr(eager(self._module), "training_step", None))
        if self._awaits_first:
            self._awaits_first = False
            self._take(self._first_rates)
        if fetches:
            self._set.complete()
            return
        batch, info = args[0], self._batches.info(args)
        self._reporter.add_events(self._batches.before_step(batch, info))
        self._check.before_step(batch, info)

    def _settle_set(self) -> None:
        """Measure on the evaluation set from here on."""
        self._observer.batches = self._set.lend(self._loop.device)
        with self._faults.contain("keep its data", instead="a resume may measure on other data"):
            events = self._batches.settle(keeps=self._settings.data is None)
            first = self._held[0].progress if self._held else None  # the first to be measured on it
            self._reporter.add_events(events, at=first, snapshots_wait=bool(self._held))

    # Snapshots

    def _is_affordable(self) -> bool:
        is_capped = self._settings.max_overhead is not None
        return not (is_capped and self._held) and self._observer.affordable()

    def _rate_rows(self) -> list[Row]:
        with self._faults.contain("read the learning rates", instead="their changes go unrecorded"):
            return self._loop.rate_rows()
        return []

    def _take(self, rates: list[Row] | None = None, *, in_batch: bool = False) -> None:
        rates = self._rate_rows() if rates is None else rates
        with self._faults.contain("take a snapshot", instead=self._hint):
            held = self._observer.take(self._module, self._progress(), rates, stub=self._stub())
            held.logger_step = self._loop.logger_step(in_batch=in_batch)
            self._held.append(held)
            size = sum(one.num_bytes() for one in self._held)
            if not self._set.is_complete and size > 1e9 * self._settings.max_data_gb:
                held.spill(self._run_dir)

    def _measure_held(self, *, is_end: bool = False) -> None:
        """Measure the snapshots that wait, once the evaluation set is complete."""
        if not (self._held and self._set.is_complete):
            return
        if not self._set.is_lent:
            self._settle_set()
        while self._held:
            held = self._held.popleft()
            records: list[Record] = []
            is_last = is_end and not self._held
            before, doubt = _versions(self._module), self._check.doubt
            self._is_measuring = True
            with self._faults.contain("observe a step", instead=self._hint):
                records = self._observer.measure(held, doubt=doubt, is_last=is_last)
            self._is_measuring = False
            trainable, self.checkpoint_state.trainable = (
                self.checkpoint_state.trainable,
                list(self._observer.trainable or ()),
            )
            # what is sampled has changed, or what is measured is in doubt: look again
            if doubt or (trainable is not None and trainable != self.checkpoint_state.trainable):
                self._check.is_due = True
            if _versions(self._module) != before:
                self._say_touched(held)
            self._reporter.report(held, records)

    def _say_touched(self, held: HeldSnapshot) -> None:
        message = (
            f"a metric wrote to the live module at step {held.progress.step}: the "
            f"training is not the one that it would have been"
        )
        way_out = "let metrics use the model that they are given"
        self._reporter.warn("training_touched", message, {}, instead=way_out)

    # Facts

    @property
    def _hint(self) -> str:
        return f"run `devtrack doctor --store {self._settings.store}`"

    def _progress(self) -> TrainingProgress:
        return TrainingProgress(self._loop.step, self._loop.epoch, self.samples_seen)

    def _stub(self) -> StubTrainer:
        return StubTrainer(self._loop.stub_facts())


def _versions(module: nn.Module) -> list[int]:
    tensors: list[torch.Tensor] = [*module.parameters(), *module.buffers()]
    return [tensor._version for tensor in tensors if not tensor.is_inference()]
