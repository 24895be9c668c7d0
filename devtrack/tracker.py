"""The Lightning callback: one line attaches devtrack to a training run.

Trainer(callbacks=[Tracker("runs")])
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy, Strategy
from lightning.pytorch.utilities import rank_zero_info

from devtrack import first_batch
from devtrack import trainer_facts as facts
from devtrack.actions import Controls
from devtrack.arguments import (
    require_integer,
    require_metrics,
    require_monitor,
    require_name,
    require_one_process,
    require_schedule,
    require_share,
)
from devtrack.data.fixed_batches import fingerprint
from devtrack.errors import ConfigError
from devtrack.guard import Guard
from devtrack.lineage import last_step, new_run, resumed, run_to_continue
from devtrack.memory import Memory
from devtrack.metrics.llc import LLC
from devtrack.metrics.loss import Loss
from devtrack.metrics.metric import LossFunction, Metric
from devtrack.metrics.objective import training_step_loss
from devtrack.metrics.weights import WeightNorm
from devtrack.model_state.isolation import isolated
from devtrack.monitor import Monitor, Watch, start_watch
from devtrack.observer import Observer
from devtrack.provenance import describe
from devtrack.recipe import RECIPE_KINDS, LearningRateWatch, evalset_change, optimizer_start
from devtrack.rows import Clock, Event, Record, Row
from devtrack.schedules import Cursor, LogSpaced, Schedule
from devtrack.store import Writer, open_store
from devtrack.training_data import chooser, in_training_precision, own_copy, seen_by


class Tracker(Callback):
    """Observes a training run and stores what it sees; the run itself is not changed by a bit.

    At each scheduled step the weights are copied, the metrics are computed on the copy, and the
    rows go to the store. The first and the last step are always observed.

    A training resumed from a Lightning checkpoint continues its run: what was recorded after the
    checkpoint is kept aside, in the view ``metrics_all``, the event ``resume`` holds configuration
    and versions from there on, ``evalset_change`` says that the run's data are others, and
    ``reconfigured`` that a metric's settings are, which then forgets what it had found. Several
    trainings from one checkpoint, such as branches, are runs of their own under their own names.

    Args:
        store: Directory of the store; made if it does not exist.
        schedule: Which steps to observe; 100 at equal ratios over the planned training by default.
        metrics: What to measure; loss, weight norm and LLC by default. Names must be unique.
        name: Name of the run; the module's class by default. A training from the checkpoint of a
            run with another name is a new run, with that one as its parent.
        resume: False begins a new run from a checkpoint in any case, with its run as the parent.
        data: What to measure on (see ``fixed_batches``); a fixed choice of
            ``num_samples`` of the samples that training sees by default. A stream of data cannot be
            chosen from: there it is the first training batch, kept over resumes. Where the choice
            fails, training goes on, and metrics that need data fail.
        loss: Maps (model, batch) to the loss; the module's ``training_step`` by default.
        num_samples: Samples to measure on, of the run's data and of each metric's own; lists of
            batches are taken whole.
        snapshots: Write the weights to the store, so that metrics can be computed again later.
        use_loggers: Forward the numbers to the Trainer's loggers as ``devtrack/<metric>``.
        max_overhead: Cap on the time that observing may add, as a share of the training time,
            e.g. 0.05. An observation waits until it is affordable. No cap by default.
        monitor: Looks at every snapshot for changes and violated invariants, and acts on them.
        seed: Of every random choice devtrack makes.

    Raises:
        ConfigError: An argument that cannot work; at ``setup`` on a sharded strategy, or when a
            monitor watches one of several processes.
        DataError: If no batches can be made of ``data`` (at the start of training).
        StoreError: If the store cannot be opened (likewise).
    """

    def __init__(
        self,
        store: str | Path = "runs",
        schedule: Schedule | None = None,
        *,
        metrics: Sequence[Metric] | None = None,
        name: str | None = None,
        resume: bool = True,
        data: Any = None,
        loss: LossFunction | None = None,
        num_samples: int = 1024,
        snapshots: bool = True,
        use_loggers: bool = True,
        max_overhead: float | None = None,
        monitor: Monitor | None = None,
        seed: int = 0,
    ) -> None:
        require_schedule(schedule := LogSpaced() if schedule is None else schedule)
        require_name(name)
        require_integer("num_samples", num_samples, least=1)
        require_share("max_overhead", max_overhead)
        require_monitor(monitor)
        require_integer("seed", seed, least=0)
        self.store = Path(store).expanduser()
        self.schedule = schedule
        self.metrics = require_metrics(
            [Loss(), WeightNorm(), LLC()] if metrics is None else metrics
        )
        self.name = name
        self.resume = resume
        self.data = data
        self.loss = training_step_loss if loss is None else loss
        self.num_samples = num_samples
        self.snapshots = snapshots
        self.use_loggers = use_loggers
        self.max_overhead = max_overhead
        self.monitor = monitor
        self.seed = seed
        self.run_id: str | None = None
        """Id of the run being recorded, or recorded last."""
        self._observer: Observer | None = None
        self._cursor: Cursor | None = None
        self._watch: Watch | None = None
        self._awaits_batch = False
        self._due = False
        self._starts_anew = True
        self._samples_seen = 0
        self._memory = Memory()
        self._resumed: dict[str, Any] | None = None
        self._rates = LearningRateWatch()
        self._guard = Guard()

    # Lightning calls these in this order; global_step is 1 after the first optimizer step.

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse what cannot be observed, before anything has started."""
        if stage == "fit" and not facts.is_dry_run(trainer):
            _require_replicated(trainer.strategy)
            require_one_process(self.monitor, trainer.world_size)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the run and observe the weights that training starts from."""
        if trainer.is_global_zero and not facts.is_dry_run(trainer):
            self._open(trainer, pl_module)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Take the first batch of a stream as the data to measure on."""
        if self._awaits_batch:
            self._take_first_batch(trainer, pl_module, batch)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Observe if a scheduled step was crossed."""
        if self._observer is not None:
            self._after_batch(self._observer, trainer, pl_module, batch)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Write all rows to disk first, so that no checkpoint is ahead of its run."""
        if self._observer is not None:
            with self._guard.doing("write its rows", instead=self._doctor):
                self._observer.drain()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Observe the final weights."""
        observer = self._observer
        if observer is not None and observer.last_step != trainer.global_step:
            self._observe(observer, trainer, pl_module)
        self._close(trainer)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Keep what was seen of a training that broke off."""
        if self._observer is not None:
            event = Event("interrupted", f"{type(exception).__name__}: {exception}")
            self._note(self._observer, trainer, [event])
        self._close(trainer)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Release the store in any case."""
        self._close(trainer)

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed training needs to continue this run."""
        own = {"run_id": self.run_id, "samples_seen": self._samples_seen}
        return own | self._memory.state()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue the run of a Lightning checkpoint."""
        self._resumed = state_dict

    # Verbs

    def _open(self, trainer: Trainer, pl_module: LightningModule) -> None:
        since, step = time.perf_counter(), trainer.global_step
        choose = chooser(trainer, num_samples=self.num_samples, seed=self.seed)
        own = None if self.data is None else choose(self.data)  # refused before a run is made
        store = open_store(self.store, create=True)
        origin, config = self._resumed or {}, self._config(trainer, pl_module)
        parent, info, seen = origin.get("run_id"), None, None
        if self.resume and parent is not None and step > 0:
            info = run_to_continue(store, parent, name=self.name)
        self._starts_anew = info is None
        self._samples_seen = int(origin.get("samples_seen", 0))
        self._memory = Memory() if info is None else Memory.of_state(origin)
        changed = self._memory.configure(config["metrics"])
        if info is None:
            name = self.name or type(pl_module).__name__
            info = store.create_run(new_run(name, config, parent=parent, step=step))
        else:
            seen = last_step(store, info.run_id)
        self.run_id = info.run_id
        writer = store.writer(info, keep_through_step=None if self._starts_anew else step)
        self._rates, self._guard, self._due = LearningRateWatch(), Guard(), False
        self._watch = None
        self._cursor = Cursor(self.schedule, total=facts.planned_steps(trainer), start=step)
        with self._guard.doing("begin to observe", instead="nothing is observed"):
            self._observer = Observer(
                writer,
                pl_module,
                metrics=self.metrics,
                loss=in_training_precision(self.loss, trainer),
                choose=choose,
                seed=self.seed,
                kept=self._memory.kept,
                trainable=self._memory.trainable,
                save_weights=self.snapshots,
                max_overhead=self.max_overhead,
                since=since,
            )
        if self._observer is None:
            writer.close()
            return
        with self._guard.doing("begin to watch", instead="changes and violations go unnoticed"):
            through_step = None if self._starts_anew else step
            self._watch = start_watch(self.monitor, store, str(self.run_id), through_step)
        events = self._first_events(trainer, writer, config, seen)
        self._note(self._observer, trainer, [*events, *changed])
        self._guard.say_changed(changed)
        self._awaits_batch = own is None and facts.is_stream(trainer.train_dataloader)
        if not self._awaits_batch:
            with self._guard.doing("choose its data", instead="metrics that need data fail"):
                events = self._measure_on(own or choose(seen_by(trainer)), self._observer)
                self._note(self._observer, trainer, events)
            if self._starts_anew:
                self._observe(self._observer, trainer, pl_module)

    def _first_events(
        self, trainer: Trainer, writer: Writer, config: dict[str, Any], seen: int | None
    ) -> list[Event]:
        if not self._starts_anew:
            event = resumed(trainer.global_step, attempt=writer.attempt, seen=seen, config=config)
            rank_zero_info(
                f"devtrack: {self.run_id} {event.message}. "
                f"Tracker(resume=False), or another name=, begins a run of its own."
            )
            return [event]
        if self._resumed is None:  # an optimizer from a checkpoint has its momentum already
            with self._guard.doing("read the momentum", instead="its start goes unrecorded"):
                return optimizer_start(facts.momenta(trainer))
        return []

    def _take_first_batch(self, trainer: Trainer, pl_module: LightningModule, batch: Any) -> None:
        self._awaits_batch = False
        if self._observer is None:
            return
        folder, device = self.store / str(self.run_id), trainer.strategy.root_device
        kept, events = first_batch.of_run(
            folder, own_copy(batch), is_new=self._starts_anew, device=device
        )
        other = self._measure_on([kept], self._observer)
        self._note(self._observer, trainer, events or other)
        if self._starts_anew:
            self._observe(self._observer, trainer, pl_module)

    def _measure_on(self, batches: list[Any], observer: Observer) -> list[Event]:
        observer.batches = batches
        before, self._memory.measured_on = self._memory.measured_on, None
        with self._guard.doing("compare its data", instead="their change goes unrecorded"):
            self._memory.measured_on = fingerprint(batches)
            return evalset_change(before, self._memory.measured_on)
        return []

    def _after_batch(
        self, observer: Observer, trainer: Trainer, pl_module: LightningModule, batch: Any
    ) -> None:
        self._samples_seen += facts.samples_in(batch) * trainer.world_size
        with self._guard.doing("read the learning rates", instead="their changes go unrecorded"):
            if events := self._rates.update(facts.learning_rates(trainer)):
                self._note(observer, trainer, events)
        assert self._cursor is not None
        self._due = self._cursor.due(trainer.global_step) or self._due
        if self._due and observer.affordable():
            self._due = False
            self._observe(observer, trainer, pl_module)

    def _note(self, observer: Observer, trainer: Trainer, events: Sequence[Event]) -> None:
        with self._guard.doing("record an event", instead=self._doctor):
            observer.record(self._clock(trainer), events)
        self._tell_watch(trainer.global_step, events)

    def _tell_watch(self, step: int, records: Sequence[Record]) -> None:
        events = [r for r in records if isinstance(r, Event) and r.kind in RECIPE_KINDS]
        if self._watch is not None and events:
            with self._guard.doing("tell the monitor of an event", instead="it may raise an alarm"):
                self._watch.note(step, events)

    def _observe(self, observer: Observer, trainer: Trainer, pl_module: LightningModule) -> None:
        clock = self._clock(trainer)
        rates: list[Row] = []
        with self._guard.doing("read the learning rates", instead="their changes go unrecorded"):
            rates = facts.rate_rows(trainer)
        records: list[Record] = []
        with self._guard.doing("observe a step", instead=self._doctor):
            records = observer.observe(pl_module, clock, rates)
            self._memory.trainable = list(observer.trainable or ())
        self._guard.say_failed(records, step=clock.step)
        self._warn_of_snapshots(observer)
        for logger in trainer.loggers if self.use_loggers and records else ():
            name = type(logger).__name__
            with self._guard.doing(f"forward numbers to {name}", instead="the store has them"):
                facts.forward(records, logger, step=clock.step)
        if self._watch is not None and records:
            self._tell_watch(clock.step, records)
            with self._guard.doing("look for changes", instead="they may go unnoticed"):
                self._look(observer, trainer, records)

    def _look(self, observer: Observer, trainer: Trainer, records: Sequence[Record]) -> None:
        assert self._watch is not None and self._cursor is not None
        controls = Controls(
            observe_at=self._cursor.add,
            own_steps=self._cursor.own_steps,
            save_checkpoint=trainer.save_checkpoint,
            stop=lambda: setattr(trainer, "should_stop", True),
            folder=self.store / str(self.run_id),
        )
        clock = self._clock(trainer)
        with isolated(seed=self.seed):
            events = self._watch.look(clock.step, records, controls)
        observer.record(clock, events)
        for event in events:
            if event.kind.endswith("_failed") or event.kind == "invariant_unchecked":
                self._guard.say(event.attrs.get("rule", event.message), event.message)

    def _warn_of_snapshots(self, observer: Observer) -> None:
        if observer.snapshot_error is not None:
            message = f"devtrack could not write a snapshot ({observer.snapshot_error})"
            self._guard.say("snapshot", message, instead="snapshots=False writes none")

    def _close(self, trainer: Trainer) -> None:
        observer, self._observer = self._observer, None
        self._resumed = None
        if observer is None:
            return
        with self._guard.doing("write its last rows", instead=self._doctor):
            cost = observer.close(self._clock(trainer))
            rank_zero_info(f"devtrack: {cost} -> {self.store / str(self.run_id)}")
        self._warn_of_snapshots(observer)

    @property
    def _doctor(self) -> str:
        return f"run `devtrack doctor --store {self.store}`"

    def _clock(self, trainer: Trainer) -> Clock:
        return Clock(trainer.global_step, trainer.current_epoch, self._samples_seen)

    def _config(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        return {
            "schedule": describe(self.schedule),
            "metrics": {metric.name: describe(metric) for metric in self.metrics},
            "num_samples": self.num_samples,
            "seed": self.seed,
            "snapshots": self.snapshots,
            "max_overhead": self.max_overhead,
            "monitor": describe(self.monitor),
            **facts.of_training(trainer, pl_module),
        }


def _require_replicated(strategy: Strategy) -> None:
    if not isinstance(strategy, SingleDeviceStrategy | DDPStrategy):
        raise ConfigError(
            f"strategy {type(strategy).__name__}: devtrack reads whole weights, so each process "
            f"must hold them. Use a single device or strategy='ddp'."
        )
