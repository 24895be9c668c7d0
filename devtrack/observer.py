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

from devtrack.data.fixed_batches import fixed_batches
from devtrack.errors import DevtrackError
from devtrack.evaluate import evaluate, private_copy
from devtrack.metrics.metric import Choose, LossFunction, Metric
from devtrack.model_state import snapshots
from devtrack.model_state.isolation import isolated
from devtrack.recipe import parameters_changed
from devtrack.rows import Clock, Event, Record, Row, SnapshotRecord
from devtrack.store import Writer

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

    A snapshot that cannot be written costs itself only: an event ``snapshot_failed`` says why.
    Parameters that are frozen or thawed in training are so in what is measured, and an event
    ``parameters_changed`` says which.

    Args:
        writer: Where the rows go; closed by ``close``.
        module: The module that trains; copied once, never touched.
        metrics: Computed on every snapshot.
        loss: The training objective as a function of (model, batch).
        batches: The run's fixed batches, on the module's device; may be set later.
        choose: Makes the batches of metrics' own data (see ``Subject``).
        seed: Of every random choice a metric makes.
        kept: What metrics settled for the whole run, from an earlier part of it; added to.
        trainable: Names of the parameters that required grad at the end of that part.
        save_weights: Write each snapshot to the store, so that other metrics can be computed later.
        max_overhead: Share of training time that observing may cost, e.g. 0.05; an observation
            waits until it is affordable. None: no cap.
        clock: Seconds.
        since: What ``clock`` said when training began to wait for this observer; now by default.

    Attributes:
        last_step: Step of the last observation.
        trainable: Names of the parameters that required grad then.
        snapshot_error: Why the last snapshot that could not be written could not.

    Raises:
        MetricError: If the module cannot be copied.
    """

    def __init__(
        self,
        writer: Writer,
        module: nn.Module,
        *,
        metrics: Sequence[Metric],
        loss: LossFunction,
        batches: Sequence[Any] = (),
        choose: Choose = fixed_batches,
        seed: int = 0,
        kept: MutableMapping[str, Any] | None = None,
        trainable: Collection[str] | None = None,
        save_weights: bool = True,
        max_overhead: float | None = None,
        clock: Callable[[], float] = time.perf_counter,
        since: float | None = None,
    ) -> None:
        self.batches = batches
        self.kept = {} if kept is None else kept
        self.last_step: int | None = None
        self.trainable = trainable
        self.snapshot_error: str | None = None
        self._writer = writer
        self._metrics = metrics
        self._loss = loss
        self._choose = choose
        self._seed = seed
        self._save_weights = save_weights
        self._max_overhead = max_overhead
        self._clock = clock
        self._start = clock() if since is None else since
        self._observations = 0
        self._by_metric_s: Counter[str] = Counter()
        self._by_status: Counter[str] = Counter()
        self._chosen: dict[int, Any] = {}
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="devtrack-snapshots")
        self._pending: deque[Future[None]] = deque()
        with isolated():
            self._model = private_copy(module)
        self._elapsed_s = clock() - self._start

    def observe(
        self, module: nn.Module, clock: Clock, extra: Iterable[Record] = ()
    ) -> list[Record]:
        """Measure ``module`` as it is now and append the rows; return them.

        Args:
            module: The module that trains; read only.
            clock: Where training stands.
            extra: Records to append with the same clock.
        """
        start = self._clock()
        tensors, before = snapshots.take(module), self.trainable
        # a dict, for its order and its quick look-up
        self.trainable = {n: True for n, p in module.named_parameters() if p.requires_grad}
        if self._save_weights:
            self._write_behind(clock, tensors)
        evaluation = evaluate(
            self._metrics,
            model=self._model,
            tensors=tensors,
            step=clock.step,
            batches=self.batches,
            loss=self._loss,
            epoch=clock.epoch,
            trainable=self.trainable,
            seed=self._seed,
            choose=self._choose,
            chosen=self._chosen,
            kept=self.kept,
        )
        events = parameters_changed(before, self.trainable)
        records = [*events, *evaluation.records, *extra]
        self._writer.append(clock, records)
        self._by_metric_s.update(evaluation.elapsed_s)
        self._by_status.update(str(r.status) for r in records if isinstance(r, Row))
        self._observations += 1
        self.last_step = clock.step
        self._elapsed_s += self._clock() - start
        return records

    def affordable(self) -> bool:
        """Say whether another observation is within ``max_overhead``."""
        return self._max_overhead is None or self.cost().overhead_frac <= self._max_overhead

    def record(self, clock: Clock, records: Iterable[Record]) -> None:
        """Append records that were not measured on a snapshot, such as events."""
        self._writer.append(clock, records)

    def drain(self) -> None:
        """Return when everything observed so far is on disk.

        Raises:
            StoreError: If the store cannot be written.
        """
        start = self._clock()
        while self._pending:
            self._pending.popleft().result()
        self._writer.flush()
        self._elapsed_s += self._clock() - start

    def cost(self) -> Cost:
        """Return what observing has cost so far."""
        wall_s = self._clock() - self._start
        training_s = max(wall_s - self._elapsed_s, 1e-9)
        return Cost(
            self._observations,
            self._elapsed_s,
            wall_s,
            self._elapsed_s / training_s,
            dict(self._by_metric_s),
            dict(self._by_status),
        )

    def close(self, clock: Clock) -> Cost:
        """Append the account of costs, write everything to disk, release the store."""
        start = self._clock()
        self._disk.shutdown(wait=True)
        cost = self.cost()
        self._writer.append(clock, [Event("cost", str(cost), cost._asdict())])
        self._writer.close()
        self._elapsed_s += self._clock() - start
        return self.cost()

    def _write_behind(self, clock: Clock, tensors: snapshots.Tensors) -> None:
        while len(self._pending) >= _MAX_PENDING_SNAPSHOTS:
            self._pending.popleft().result()
        self._pending.append(self._disk.submit(self._write_snapshot, clock, tensors))

    def _write_snapshot(self, clock: Clock, tensors: snapshots.Tensors) -> None:
        record: SnapshotRecord | Event
        try:
            record = snapshots.write(self._writer.run_dir, tensors)
        except Exception as error:  # noqa: BLE001 - safetensors may refuse a tensor in any way
            own = isinstance(error, DevtrackError)
            self.snapshot_error = str(error) if own else f"{type(error).__name__}: {error}"
            record = Event("snapshot_failed", self.snapshot_error)
        self._writer.append(clock, [record])
