"""A metric set on one snapshot -> records. A failing metric is a row, not a crash.

A live training and a replay of old checkpoints both come through here.
"""

from __future__ import annotations

import copy
import math
import time
import zlib
from collections.abc import Callable, Collection, MutableMapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import nn

from devtrack.data.fixed_batches import fixed_batches
from devtrack.errors import MetricError
from devtrack.metrics.metric import Choose, LossFunction, Metric, Subject
from devtrack.model_state import snapshots
from devtrack.model_state import stub_trainer as standin
from devtrack.model_state.isolation import isolated
from devtrack.rows import NOT_FINITE, ChainTrace, Event, Record, Row, SnapshotRecord, Status
from devtrack.sampling.losses import allow_gradients


class Evaluation(NamedTuple):
    """What one snapshot yielded.

    Attributes:
        records: In the order of the metrics.
        elapsed_s: Seconds per metric, by name.
    """

    records: list[Record]
    elapsed_s: dict[str, float]


def private_copy(module: nn.Module) -> nn.Module:
    """Return a deep copy that metrics may use as they like.

    It has no Trainer (``LightningModule.__getstate__`` drops it) but a stand-in that ``evaluate``
    tells the step and the epoch, its ``log`` and ``log_dict`` do nothing, and it shares no memory
    with ``module``.

    Raises:
        MetricError: If an attribute of the module cannot be copied.
    """
    try:
        twin = copy.deepcopy(module)
    except Exception as error:  # any attribute of the user's may refuse, in any way
        raise MetricError(
            f"{type(module).__name__} cannot be copied ({error}): devtrack measures a private copy."
            f" {_way_out(module)}"
        ) from error
    for name in ("log", "log_dict"):
        if hasattr(twin, name):
            object.__setattr__(twin, name, _no_log)
    standin.put_in(twin)
    return twin


def _way_out(module: nn.Module) -> str:
    """Say what to do about a module that cannot be copied."""
    hooks = (hook for each in module.modules() for hook in each._forward_pre_hooks.values())
    for origin in (type(hook).__module__ for hook in hooks):
        if origin in _OLD_NORMS:  # they hold a weight that is a result, which torch does not copy
            successor = origin.replace("nn.utils", "nn.utils.parametrizations")
            return f"Use {successor} instead of {origin}."
    return "Leave the attribute out in __getstate__, or create it in on_train_start."


_OLD_NORMS = ("torch.nn.utils.weight_norm", "torch.nn.utils.spectral_norm")


def evaluate(
    metrics: Sequence[Metric],
    *,
    model: nn.Module,
    tensors: snapshots.Tensors,
    step: int,
    batches: Sequence[Any],
    loss: LossFunction,
    epoch: int = 0,
    trainable: Collection[str] | None = None,
    seed: int = 0,
    choose: Choose = fixed_batches,
    chosen: MutableMapping[int, Any] | None = None,
    kept: MutableMapping[str, Any] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Evaluation:
    """Compute ``metrics`` on one snapshot, isolated from everything else in the process.

    Args:
        metrics: Each gets the snapshot's weights afresh, so that none sees what another left.
        model: From ``private_copy``; overwritten.
        tensors: The snapshot's weights.
        step: Optimizer steps completed.
        batches: The run's fixed batches, on the model's device.
        loss: The training objective.
        epoch: Epochs completed.
        trainable: Names of the parameters that require grad, which a training may freeze and thaw;
            if None, those of ``model`` do that did.
        seed: With the metric's name and the step it seeds ``Subject.generator``, so that a
            measurement can be repeated to the bit and errors at different steps are independent.
        choose: Makes the batches of metrics' own data (see ``Subject``).
        chosen: Where batches of the metrics' own data are kept; pass the same mapping for every
            snapshot of a run, so that the data stay the same.
        kept: Where metrics keep what they settle once per run (see ``Subject``); likewise.
        clock: Seconds; measures the cost.
    """
    chosen = {} if chosen is None else chosen
    kept = {} if kept is None else kept
    loss = allow_gradients(loss)
    standin.tell(model, step=step, epoch=epoch)
    records: list[Record] = []
    elapsed_s: dict[str, float] = {}
    for metric in metrics:
        start = clock()
        own_seed = _seed(seed, metric.name, step)
        with isolated(seed=own_seed):
            # not the global stream: a private one, so that a measurement can be repeated
            generator = torch.Generator(_device(model)).manual_seed(own_seed)
            subject = Subject(model, step, batches, loss, generator, choose, chosen, kept)
            records += _compute(metric, subject, tensors, trainable)
        elapsed_s[metric.name] = clock() - start
    return Evaluation(records, elapsed_s)


def _compute(
    metric: Metric,
    subject: Subject,
    tensors: snapshots.Tensors,
    trainable: Collection[str] | None,
) -> list[Record]:
    records: list[Record] = []
    try:
        _reset(subject.model, tensors, trainable)
        with torch.enable_grad():
            records.extend(_checked(record, metric) for record in metric.compute(subject))
    except Exception as error:  # noqa: BLE001 - a user's metric may fail in any way: it is data
        records.append(failed_row(metric.name, error))
    return records


def failed_row(metric: str, error: BaseException) -> Row:
    """Return the row that stands for a number that could not be computed."""
    text = f"{type(error).__name__}: {error}"
    return Row(metric, math.nan, status=Status.FAILED, attrs={"error": text})


def _reset(model: nn.Module, tensors: snapshots.Tensors, trainable: Collection[str] | None) -> None:
    snapshots.load_into(model, tensors)
    if trainable is not None:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in trainable)
    model.eval()
    model.zero_grad(set_to_none=True)


def _device(model: nn.Module) -> torch.device:
    return next((p.device for p in model.parameters()), torch.device("cpu"))


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


def _no_log(*args: Any, **kwargs: Any) -> None:
    """Stand in for LightningModule.log on a copy."""
