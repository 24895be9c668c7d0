"""The Lightning callback: one line attaches devtrack to a training run.

Trainer(callbacks=[Tracker("runs")])
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info

from devtrack._checks import require_int, require_positive
from devtrack.metrics._field_checks import require_data, require_loss
from devtrack.metrics.llc import LLC
from devtrack.metrics.loss import Loss
from devtrack.metrics.metric import LossFunction, Metric
from devtrack.metrics.weights import WeightNorm
from devtrack.monitoring.monitor import Monitor
from devtrack.schedules import Cursor, LogSpaced, Schedule
from devtrack.tracking._lightning_loop import LightningLoop, is_dry_run, planned_steps
from devtrack.tracking._ranks import Ranks
from devtrack.tracking._settings import Settings
from devtrack.tracking._training_steps import StepListener
from devtrack.tracking._validation import (
    require_metrics,
    require_monitor,
    require_name,
    require_one_process,
    require_replicated,
    require_schedule,
    require_share,
    require_store,
    require_switches,
)
from devtrack.tracking.session import Session


class Tracker(Callback):
    """Observes a training run and stores what it sees; the run itself is not changed by a bit.

    At each scheduled step the module is copied, the metrics are computed on the copy, and the rows
    go to the store. The first and the last step are always observed.

    What is measured is what trains. The batches are the first ones that reach the training step,
    kept as it received them. Steps that are due before there are ``num_samples`` of them are kept
    as copies, and measured then. At the first step the copy is checked. It must be private, or the
    training is refused before it begins. It must give the loss that the training step returns.
    Where it does not, an event ``objective_mismatch`` says so, and every row that rests on the
    objective is suspect.

    A training resumed from a Lightning checkpoint continues its run. Rows recorded after the
    checkpoint stay in the view ``metrics_all`` only. The event ``resume`` holds the configuration
    and versions from there on. The event ``evalset_change`` marks other data. The event
    ``reconfigured`` marks a metric with other settings, which then forgets its state. Several
    trainings from
    one checkpoint, such as branches, are separate runs under their own names.

    Args:
        store: Directory of the store; made if it does not exist.
        schedule: Which steps to observe; 100 at equal ratios over the planned training by default.
        metrics: What to measure; loss, weight norm and LLC by default. Names must be unique.
        name: Name of the run; the module's class by default. A training from the checkpoint of a
            run with another name is a new run, with that one as its parent.
        resume: False begins a new run from a checkpoint in any case, with its run as the parent.
        data: What to measure on instead (see ``fixed_batches``); read once, before training.
        loss: Maps (model, batch) to the loss; the module's ``training_step`` by default.
        num_samples: Samples to measure on, in whole batches: of the training's own, and of each
            data set that is given to a metric. Lists of batches are taken whole.
        max_data_gb: Memory, 10⁹ bytes, that the training's batches may take; an event
            ``evaluation_set_cut`` says when it ends the set early.
        data_on_cpu: Keep these batches in the CPU's memory.
        snapshots: Write the weights to the store, so that metrics can be computed again later.
        use_loggers: Forward the numbers to the Trainer's loggers as ``devtrack/<metric>``.
        max_overhead: Cap on the time that observing may add, as a share of the training time,
            e.g. 0.05. An observation waits until it is affordable. No cap by default.
        monitor: Looks at every snapshot for changes and violated invariants, and acts on them.
        seed: Of every random choice devtrack makes.

    Raises:
        ConfigError: An argument is invalid. At ``setup``: the strategy is sharded, or a monitor
            watches one of several processes. At the start of training: the module cannot be copied.
            At the first step: measuring would change the training.
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
        max_data_gb: float = 1.0,
        data_on_cpu: bool = False,
        snapshots: bool = True,
        use_loggers: bool = True,
        max_overhead: float | None = None,
        monitor: Monitor | None = None,
        seed: int = 0,
    ) -> None:
        require_store(store)
        require_data(data)
        require_loss(loss)
        require_switches(
            resume=resume, data_on_cpu=data_on_cpu, snapshots=snapshots, use_loggers=use_loggers
        )
        require_schedule(schedule := LogSpaced() if schedule is None else schedule)
        require_name(name)
        require_int("num_samples", num_samples, at_least=1)
        require_positive("max_data_gb", max_data_gb)
        require_share("max_overhead", max_overhead)
        require_monitor(monitor)
        require_int("seed", seed, at_least=0)
        self.store = Path(store).expanduser()
        self.metrics = require_metrics(
            [Loss(), WeightNorm(), LLC()] if metrics is None else metrics
        )
        self.name = name
        self.run_id: str | None = None
        """Id of the run being recorded, or recorded last."""
        self._settings = Settings(
            store=self.store,
            schedule=schedule,
            metrics=self.metrics,
            name=name,
            resume=resume,
            data=data,
            loss=loss,
            num_samples=num_samples,
            max_data_gb=max_data_gb,
            data_on_cpu=data_on_cpu,
            snapshots=snapshots,
            use_loggers=use_loggers,
            max_overhead=max_overhead,
            monitor=monitor,
            seed=seed,
        )
        self._session: Session | None = None
        self._steps: StepListener | None = None
        self._ranks: Ranks | None = None
        self._cursor: Cursor | None = None
        self._meets = False
        self._origin: dict[str, Any] | None = None
        self._ended: tuple[Any, int, dict[str, Any]] | None = None

    @property
    def state_key(self) -> str:
        """Where the tracker's state lies in a checkpoint: a Trainer may have several trackers."""
        return self._generate_state_key(store=str(self.store), name=self.name)

    # Lightning calls these in this order; global_step is 1 after the first optimizer step.

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse what cannot be observed, before anything has started."""
        if stage == "fit" and not is_dry_run(trainer):
            require_replicated(trainer.strategy)
            require_one_process(self._settings.monitor, trainer.world_size)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the run."""
        if is_dry_run(trainer):
            return
        self._ranks, total = Ranks(trainer.world_size), planned_steps(trainer)
        self._cursor = Cursor(self._settings.schedule, total=total, start=trainer.global_step)
        if trainer.is_global_zero:
            self._open(trainer, pl_module)
        self._meets = self._ranks.meet(True)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Await the training step."""
        if self._steps is not None:
            self._steps.expect()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Observe if a scheduled step was crossed."""
        if self._session is not None:
            self._session.after_batch(batch, batch_idx)
        if self._cursor is not None and self._ranks is not None:
            is_due = self._cursor.due(trainer.global_step)  # on all ranks alike
            if is_due or self._meets:
                waits = self._session is not None and self._session.is_waiting()
                self._meets = self._ranks.meet(waits)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Write all rows to disk first, so that no checkpoint is ahead of its run."""
        if self._session is not None:
            self._session.save()

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Find the state of a tracker that had another store or name: its run is the parent."""
        if self._origin is None:
            kind = type(self).__qualname__
            states = checkpoint.get("callbacks", {})
            others = [state for key, state in states.items() if str(key).startswith(kind)]
            self._origin = others[0] if len(others) == 1 else None

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Observe the final weights."""
        if self._session is not None:
            self._session.finish()
            self._ended = (weakref.ref(trainer), trainer.global_step, self._session.state())
        if self._ranks is not None:
            self._ranks.meet(False)
        self._close()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Keep what was seen of a training that broke off."""
        if self._session is not None:
            self._session.interrupt(exception)
        self._close()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Release the store in any case."""
        self._close()

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed training needs to continue this run."""
        if self._session is not None:
            return self._session.state()
        return {} if self._ended is None else self._ended[2]

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue the run of a Lightning checkpoint."""
        self._origin = state_dict

    # Verbs

    def _open(self, trainer: Trainer, pl_module: LightningModule) -> None:
        origin = self._origin or self._own_end(trainer)
        loop = LightningLoop(trainer, pl_module)
        self._session = Session(self._settings, loop, origin=origin, say=rank_zero_info)
        self.run_id = self._session.run_id
        self._steps = StepListener(
            trainer.strategy, before=self._session.before_step, after=self._session.after_step
        )

    def _own_end(self, trainer: Trainer) -> dict[str, Any] | None:
        """Return the state at the end of the last training, if this one goes on from there."""
        if self._ended is None:
            return None
        last, step, state = self._ended
        return state if last() is trainer and step == trainer.global_step > 0 else None

    def _close(self) -> None:
        steps, self._steps = self._steps, None
        session, self._session = self._session, None
        self._origin = self._cursor = self._ranks = None
        if steps is not None:
            steps.stop()
        if session is not None:
            session.close()
