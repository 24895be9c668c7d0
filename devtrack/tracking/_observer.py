"""One training run under observation: takes a snapshot, measures it, hands the rows to the store.

Knows nothing of Lightning: a tracker for another trainer needs only this.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, MutableMapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

from torch import nn

from devtrack.data._fixed_batches import fixed_batches
from devtrack.errors import DevtrackError
from devtrack.metrics.metric import BatchMaker, LossFunction, Metric
from devtrack.model_state import snapshots
from devtrack.model_state._private_copy import private_copy
from devtrack.model_state.isolation import isolated
from devtrack.model_state.stub_trainer import StubTrainer
from devtrack.records import Event, Record, Row, SnapshotRecord, TrainingProgress
from devtrack.store import Writer
from devtrack.tracking._evaluate import Evaluation, evaluate
from devtrack.tracking._held_snapshot import HeldSnapshot
from devtrack.tracking._training_events import parameters_changed
from devtrack.tracking._training_loss import RunObjective

_MAX_PENDING_SNAPSHOTS = 2  # copies of the weights that may wait for the disk


class Cost(NamedTuple):
    """What observing has cost so far.

    Attributes:
        observations: Number of snapshots measured.
        elapsed_s: Seconds that training waited for devtrack: opening, observations, waiting for the
            disk, closing. The look at the schedule after each batch, about 13 µs, is not in it.
        wall_s: Seconds since ``since``.
        overhead_frac: ``elapsed_s / (wall_s - elapsed_s)``: by how much training was prolonged.
        by_metric_s: Seconds per metric.
        by_status: Rows per status.
    """

    observations: int
    elapsed_s: float
    wall_s: float
    overhead_frac: float
    by_metric_s: dict[str, float]
    by_status: dict[str, int]

    def __str__(self) -> str:
        rows = ", ".join(f"{count} {status}" for status, count in self.by_status.items())
        return (
            f"{self.observations} observations in {self.elapsed_s:.1f} s "
            f"({100 * self.overhead_frac:.1f} % on top of training), rows: {rows or 'none'}"
        )


class Observer:
    """Measures snapshots of one module with one frozen set of metrics and data.

    ``take`` copies the module as it is, ``measure`` computes the metrics on the copy, then or
    later. A snapshot that cannot be written costs itself only: an event ``snapshot_failed`` says
    why. Parameters that are frozen, thawed, added or pruned in training are so in what is measured,
    and an event ``parameters_changed`` says which.

    Args:
        writer: Where the rows go; closed by ``close``.
        metrics: Computed on every snapshot, or as seldom as their ``every`` says.
        loss: The training objective as a function of (model, batch).
        batches: The run's fixed batches, on the module's device; may be set later.
        make_batches: Makes the batches of metrics' own data (see ``Subject``).
        renew: Brings ``batches`` back if a metric wrote to them (see ``evaluate``).
        seed: Of every random choice a metric makes.
        metric_state: What metrics settled for the whole run, from an earlier part of it; added to.
        trainable: Names of the parameters that required grad at the end of that part.
        count: Observations of that part.
        save_weights: Write each snapshot to the store, so that other metrics can be computed later.
        max_overhead: Share of training time that observing may cost, e.g. 0.05; an observation
            waits until it is affordable. None: no cap.
        timer: Seconds.
        since: What ``timer`` said when training began to wait for this observer; now by default.

    Attributes:
        last_step: Step of the last snapshot that was taken.
        trainable: Names of the parameters that required grad then.
        count: Observations of the run so far.
        snapshot_error: Why the last snapshot that could not be written could not.
    """

    def __init__(
        self,
        writer: Writer,
        *,
        metrics: Sequence[Metric],
        loss: LossFunction | RunObjective,
        batches: Sequence[Any] = (),
        make_batches: BatchMaker = fixed_batches,
        renew: Callable[[], bool] = lambda: False,
        seed: int = 0,
        metric_state: MutableMapping[str, Any] | None = None,
        trainable: Collection[str] | None = None,
        count: int = 0,
        save_weights: bool = True,
        max_overhead: float | None = None,
        timer: Callable[[], float] = time.perf_counter,
        since: float | None = None,
    ) -> None:
        self.batches = batches
        self.metric_state = {} if metric_state is None else metric_state
        self.last_step: int | None = None
        self.trainable = trainable
        self.count = count
        self.snapshot_error: str | None = None
        self._writer = writer
        self._metrics = metrics
        self._loss = loss if isinstance(loss, RunObjective) else RunObjective(loss)
        self._make_batches = make_batches
        self._renew = renew
        self._seed = seed
        self._save_weights = save_weights
        self._max_overhead = max_overhead
        self._timer = timer
        self._start = timer() if since is None else since
        self._observations = 0
        self._by_metric_s: Counter[str] = Counter()
        self._by_status: Counter[str] = Counter()
        self._cache: dict[int, Any] = {}
        self._skipped: list[Metric] = []
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="devtrack-snapshots")
        self._pending: deque[Future[None]] = deque()
        self._elapsed_s = timer() - self._start

    def take(
        self,
        module: nn.Module,
        progress: TrainingProgress,
        extra: Iterable[Record] = (),
        *,
        stub: StubTrainer | None = None,
    ) -> HeldSnapshot:
        """Copy ``module`` as it is now, and write its weights to the store behind training's back.

        Args:
            module: The module that trains; read only.
            progress: Where training stands.
            extra: Records to append with the snapshot's rows.
            stub: What the copy finds as its Trainer (see ``private_copy``).

        Raises:
            MetricError: If the module cannot be copied.
        """
        start = self._timer()
        with isolated():
            copy = private_copy(module, stub)
        self.last_step = progress.step
        if self._save_weights:
            self._write_behind(progress, snapshots.tensors_of(copy))
        self._elapsed_s += self._timer() - start
        return HeldSnapshot(copy, progress, list(extra))

    def measure(
        self, held: HeldSnapshot, *, doubt: str = "", is_last: bool = False
    ) -> list[Record]:
        """Compute the metrics on a snapshot and append the rows; return them.

        Args:
            held: From ``take``; snapshots are measured in the order of their steps.
            doubt: Why the objective is not known to be that of training (see ``evaluate``).
            is_last: Compute every metric, whatever its ``every``.
        """
        due = [m for m in self._metrics if is_last or self.count % getattr(m, "every", 1) == 0]
        self._skipped = [metric for metric in self._metrics if metric not in due]
        self.count += 1
        return self._measure(held, due, doubt)

    def measure_skipped(self, held: HeldSnapshot, *, doubt: str = "") -> list[Record]:
        """Compute the metrics that the last observation left out: it turned out to be the last."""
        skipped, self._skipped = self._skipped, []
        return self._measure(held, skipped, doubt) if skipped else []

    @property
    def has_skipped(self) -> bool:
        """Whether the last observation left metrics out."""
        return bool(self._skipped)

    def _measure(self, held: HeldSnapshot, metrics: Sequence[Metric], doubt: str) -> list[Record]:
        start, before = self._timer(), self.trainable
        model = held.model()
        # a dict, for its order and its quick look-up
        self.trainable = {n: True for n, p in model.named_parameters() if p.requires_grad}
        found = Evaluation([*parameters_changed(before, self.trainable)], {})
        try:
            evaluate(
                metrics,
                model=model,
                step=held.progress.step,
                batches=self.batches,
                loss=self._loss,
                epoch=held.progress.epoch,
                doubt=doubt,
                seed=self._seed,
                make_batches=self._make_batches,
                cache=self._cache,
                metric_state=self.metric_state,
                renew=self._renew,
                into=found,
            )
        finally:  # an interrupt too leaves the rows that there are
            records = [*found.records, *held.extra]
            self._writer.append(held.progress, records)
            self._by_metric_s.update(found.elapsed_s)
            self._by_status.update(str(r.status) for r in records if isinstance(r, Row))
            self._observations += 1
            self._elapsed_s += self._timer() - start
        return records

    def affordable(self) -> bool:
        """Say whether another observation is within ``max_overhead``."""
        return self._max_overhead is None or self.cost().overhead_frac <= self._max_overhead

    def record(self, progress: TrainingProgress, records: Iterable[Record]) -> None:
        """Append records that were not measured on a snapshot, such as events."""
        self._writer.append(progress, records)

    def drain(self) -> None:
        """Return when everything observed so far is on disk.

        Raises:
            StoreError: If the store cannot be written.
        """
        start = self._timer()
        while self._pending:
            self._pending.popleft().result()
        self._writer.flush()
        self._elapsed_s += self._timer() - start

    def cost(self) -> Cost:
        """Return what observing has cost so far."""
        wall_s = self._timer() - self._start
        training_s = max(wall_s - self._elapsed_s, 1e-9)
        return Cost(
            self._observations,
            self._elapsed_s,
            wall_s,
            self._elapsed_s / training_s,
            dict(self._by_metric_s),
            dict(self._by_status),
        )

    def close(self, progress: TrainingProgress) -> Cost:
        """Append the account of costs, write everything to disk, release the store."""
        start = self._timer()
        self._disk.shutdown(wait=True)
        cost = self.cost()
        self._writer.append(progress, [Event("cost", str(cost), cost._asdict())])
        self._writer.close()
        self._elapsed_s += self._timer() - start
        return self.cost()

    def _write_behind(self, progress: TrainingProgress, tensors: snapshots.Tensors) -> None:
        while len(self._pending) >= _MAX_PENDING_SNAPSHOTS:
            self._pending.popleft().result()
        self._pending.append(self._disk.submit(self._write_snapshot, progress, tensors))

    def _write_snapshot(self, progress: TrainingProgress, tensors: snapshots.Tensors) -> None:
        record: SnapshotRecord | Event
        try:
            record = snapshots.write(self._writer.run_dir, tensors)
        except Exception as error:  # noqa: BLE001 - safetensors may refuse a tensor in any way
            own = isinstance(error, DevtrackError)
            self.snapshot_error = str(error) if own else f"{type(error).__name__}: {error}"
            record = Event("snapshot_failed", self.snapshot_error)
        self._writer.append(progress, [record])
