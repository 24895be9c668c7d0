"""A metric set on one snapshot -> records. A failing metric is a row, not a crash.

A live training and a replay of old checkpoints both come through here.
"""

from __future__ import annotations

import math
import signal
import threading
import time
import zlib
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import nn

from devtrack.data._fixed_batches import fixed_batches
from devtrack.errors import MetricError
from devtrack.metrics.metric import BatchMaker, LossFunction, Metric, Subject
from devtrack.model_state._private_copy import private_copy
from devtrack.model_state._python_state import PythonState
from devtrack.model_state._reachable_globals import classes_of, reachable_globals
from devtrack.model_state.isolation import isolated
from devtrack.model_state.stub_trainer import stub_of
from devtrack.records import NOT_FINITE, ChainTrace, Event, Record, Row, SnapshotRecord, Status
from devtrack.tracking._training_loss import BoundObjective, RunObjective


class Evaluation(NamedTuple):
    """What one snapshot yielded.

    Attributes:
        records: In the order of the metrics.
        elapsed_s: Seconds per metric, by name.
    """

    records: list[Record]
    elapsed_s: dict[str, float]


def evaluate(
    metrics: Sequence[Metric],
    *,
    model: nn.Module,
    step: int,
    batches: Sequence[Any],
    loss: LossFunction | RunObjective,
    epoch: int = 0,
    doubt: str = "",
    seed: int = 0,
    make_batches: BatchMaker = fixed_batches,
    cache: MutableMapping[int, Any] | None = None,
    metric_state: MutableMapping[str, Any] | None = None,
    renew: Callable[[], bool] = lambda: False,
    timer: Callable[[], float] = time.perf_counter,
    into: Evaluation | None = None,
) -> Evaluation:
    """Compute ``metrics`` on one snapshot, isolated from everything else in the process.

    Each metric gets a copy of the snapshot of its own, so that none sees what another left: no
    weights, attributes, modes or hooks. Module-level objects that the model's code can reach are
    put back after each (see ``reachable_globals``).

    Args:
        metrics: What to compute.
        model: The snapshot, from ``private_copy``; left as it is.
        step: Optimizer steps completed.
        batches: The run's fixed batches, on the model's device.
        loss: The training objective; a ``RunObjective`` also knows how training calls it.
        epoch: Epochs completed.
        doubt: Why the objective is not known to be that of training; rows of metrics that call it
            are suspect, with this reason.
        seed: With the metric's name and the step it seeds ``Subject.generator``, so that a
            measurement can be repeated bit for bit. Errors at different steps are independent.
        make_batches: Makes the batches of metrics' own data (see ``Subject``).
        cache: Where batches of the metrics' own data are kept. Pass the same mapping for every
            snapshot of a run, so that the data stay the same.
        metric_state: Where metrics keep what they settle once per run (see ``Subject``); likewise.
        renew: Brings ``batches`` back if a metric wrote to them, and says whether one did.
        timer: Seconds; measures the cost.
        into: Filled as metrics are computed, so that an interrupt leaves what there is.

    Returns:
        ``into``, or a new evaluation.
    """
    objective = loss if isinstance(loss, RunObjective) else RunObjective(loss)
    found = Evaluation([], {}) if into is None else into
    if (stub := stub_of(model)) is not None:
        stub.global_step, stub.current_epoch = step, epoch
    own, state = {} if cache is None else cache, {} if metric_state is None else metric_state
    shared = PythonState(reachable_globals(*classes_of(model)))
    device = next((p.device for p in model.parameters()), torch.device("cpu"))

    def subject(metric: Metric, own_seed: int) -> tuple[Subject, BoundObjective]:
        twin = private_copy(model)
        for part in twin.modules():
            part.training = False  # not eval(): an override may rewrite weights, as LoRA's does
        bound = objective.bind(twin)
        # not the global stream: a private one, so that a measurement can be repeated
        generator = torch.Generator(device).manual_seed(own_seed)
        count = objective.count
        return Subject(
            twin, step, batches, bound, generator, make_batches, count, own, state
        ), bound

    for metric in metrics:
        start = timer()
        own_seed = _seed(seed, metric.name, step)
        with isolated(seed=own_seed):
            records = _compute(metric, lambda m=metric, s=own_seed: subject(m, s), objective, doubt)
        found.records.extend(records)
        shared.restore()
        if renew():
            message = f"metric {metric.name!r} wrote into its batches; they were brought back"
            found.records.append(Event("batches_restored", message, {"metric": metric.name}))
        found.elapsed_s[metric.name] = timer() - start
    return found


def _compute(
    metric: Metric,
    make_subject: Callable[[], tuple[Subject, BoundObjective]],
    objective: RunObjective,
    doubt: str,
) -> list[Record]:
    records: list[Record] = []
    bound, state, before = None, {}, {}
    try:
        subject, bound = make_subject()
        state, before = subject.state, dict(subject.state)
        with _deadline(getattr(metric, "timeout_s", None)), torch.enable_grad():
            records.extend(_checked(record, metric) for record in metric.compute(subject))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a user's metric may fail in any way
        records.append(failed_row(metric.name, error))
    if bound is not None and bound.left_behind():
        objective.keeps_state = True  # a later call changed the module: each must find it as it was
        state.clear()
        state.update(before)
        return _compute(metric, make_subject, objective, doubt)
    if doubt and bound is not None and bound.num_calls:
        return [_doubted(record, doubt) for record in records]
    return records


def failed_row(metric: str, error: BaseException) -> Row:
    """Return the row that stands for a number that could not be computed."""
    text = f"{type(error).__name__}: {error}"
    return Row(metric, math.nan, status=Status.FAILED, attrs={"error": text})


@contextmanager
def _deadline(seconds: float | None) -> Iterator[None]:
    """Raise TimeoutError inside the block after so many seconds, where the platform can."""
    is_main = threading.current_thread() is threading.main_thread()
    if seconds is None or not is_main or not hasattr(signal, "setitimer"):
        yield
        return

    def give_up(*args: Any) -> None:
        raise TimeoutError(f"broken off after timeout_s={seconds:g}. Allow more, or measure less.")

    handler = signal.signal(signal.SIGALRM, give_up)
    left, _ = signal.setitimer(signal.ITIMER_REAL, seconds)
    start = time.monotonic()
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if left:  # an alarm of the user's own
            signal.setitimer(signal.ITIMER_REAL, max(1e-3, left - (time.monotonic() - start)))


def _doubted(record: Record, doubt: str) -> Record:
    if not isinstance(record, Row) or record.status is Status.FAILED:
        return record
    reasons = [*record.attrs.get("reasons", []), doubt]
    return replace(record, status=Status.SUSPECT, attrs={**record.attrs, "reasons": reasons})


def _seed(seed: int, name: str, step: int) -> int:
    return zlib.crc32(f"{seed}/{name}/{step}".encode())  # not hash(): the same in every process


def _checked(record: Any, metric: Metric) -> Record:
    if isinstance(record, ChainTrace | Event | SnapshotRecord):
        return record
    if not isinstance(record, Row):
        raise MetricError(
            f"metric {metric.name!r} yielded {type(record).__name__}: must yield Row objects. "
            f"Write `yield Row({metric.name!r}, value)`."
        )
    row = replace(record, value=_number(record.value), se=_number(record.se))
    fault = _fault_of(row)
    if row.status is Status.FAILED or not fault:
        return row
    attrs = {**row.attrs, **fault}
    return replace(row, value=math.nan, se=math.nan, status=Status.FAILED, attrs=attrs)


def _fault_of(row: Row) -> dict[str, str]:
    if not math.isfinite(row.value):
        return {"error": f"value is {row.value}", NOT_FINITE: str(row.value)}
    if row.se < 0:
        must = "a standard error must be 0 or more, or NaN where it is unknown"
        return {"error": f"se is {row.se}: {must}"}
    return {}


def _number(value: Any) -> float:
    return float(value.item() if isinstance(value, torch.Tensor) else value)
