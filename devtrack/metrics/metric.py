"""The protocol that every metric follows, and what a metric gets to see.

A metric is an object with a ``name`` and a method ``compute(subject)`` that yields rows::

    class DeadUnits:
        name = "dead_units"

        def compute(self, subject):
            for site, activation in my_activations(subject.model, subject.batches[0]):
                yield Row("dead_units", float((activation <= 0).all(0).float().mean()), site=site)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from torch import nn

from devtrack.data._fixed_batches import fixed_batches, num_rows, to_device
from devtrack.errors import DataError
from devtrack.metrics._field_checks import check_fields
from devtrack.records import Record
from devtrack.sampling._user_loss import LossFunction

BatchMaker = Callable[[Any], list[Any]]
"""Makes fixed batches of data, as ``fixed_batches`` takes them."""


@dataclass(frozen=True, kw_only=True)
class MetricOptions:
    """When a metric is computed, and how long it may take: what every metric of devtrack takes.

    Args:
        every: Compute it at every such observation only, counted from the run's first one; at the
            last one in any case.
        timeout_s: Seconds after which the metric is broken off and its row is failed. None: no
            limit. A single call into compiled code is broken off when it returns.
    """

    every: int = 1
    timeout_s: float | None = None

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, slots=True)
class Subject:
    """One snapshot as a metric sees it. Nothing here is the training's own object.

    Args:
        model: A private copy of the snapshot, in eval mode; a metric may do with it what it likes,
            the next one gets its own.
        step: Optimizer steps completed.
        batches: The run's fixed evaluation batches, on the model's device, the same at every
            snapshot. Empty when the run has no data.
        loss: The training objective as a function of (model, batch): a scalar mean loss, or losses
            of shape (sample,). Call it on whole batches. It may differentiate inside, also where a
            metric has gradients off.
        generator: Seeded by (run seed, metric name, step) on the model's device: the only source
            of randomness that a metric needs.
        make_batches: Makes fixed batches, ready for the model, of a metric's own data. A tracker
            chooses ``num_samples`` of them by its ``seed``, and does to them what is done to
            training data.
        count: Returns the samples in a batch of the run, which its shapes may not tell.
        cache: Batches of metrics' own data, kept over the run (see ``batches_of``).
        state: What metrics chose once for the whole run, by metric name, JSON-serialisable. A
            tracker saves it in checkpoints, so that a resumed training keeps it.
    """

    model: nn.Module
    step: int
    batches: Sequence[Any]
    loss: LossFunction
    generator: torch.Generator
    make_batches: BatchMaker = fixed_batches
    count: Callable[[Any], int] = num_rows
    cache: MutableMapping[int, Any] = field(default_factory=dict)
    state: MutableMapping[str, Any] = field(default_factory=dict)

    def get_state(self, metric: Metric) -> Any:
        """Return what ``metric`` kept at an earlier snapshot of the run; None if nothing.

        It stays in memory: a resumed training starts without it. What must survive a resume
        belongs into ``state``.
        """
        return self.cache.get(id(metric), (metric, None))[1]

    def set_state(self, metric: Metric, value: Any) -> None:
        """Keep ``value`` for the later snapshots of the run."""
        self.cache[id(metric)] = (metric, value)  # holds on to metric, so that its id stays its own

    def batches_of(self, data: Any = None) -> list[Any]:
        """Return the batches of a metric's own ``data``, or the run's if that is None.

        They are chosen at the first snapshot and stay the same for the run.

        Raises:
            DataError: If there are none.
        """
        if data is None:
            if not self.batches:
                raise DataError(
                    "no data: no batch of the training's own was kept. Pass data= to the tracker, "
                    "and loss=lambda model, batch: … if its step fetches its own batches."
                )
            return list(self.batches)
        if id(data) not in self.cache:  # the entry holds on to data, so that its id stays its own
            batches = to_device(self.make_batches(data), self.generator.device)
            self.cache[id(data)] = (data, batches)
        return self.cache[id(data)][1]


@runtime_checkable
class Metric(Protocol):
    """Anything with a name and a ``compute``.

    ``name`` is unique within a tracker: the prefix or the whole of the rows' ``metric``.
    ``compute`` yields the records of one snapshot. If it raises, the error becomes a failed row.
    """

    if TYPE_CHECKING:

        @property
        def name(self) -> str: ...  # noqa: D102 - a property, so that frozen dataclasses fit

        def compute(self, subject: Subject) -> Iterable[Record]: ...  # noqa: D102 - said above

    else:  # LightningCLI's parser wants equal annotations and takes properties for methods
        name: str

        def compute(self, subject): ...  # noqa: D102 - said above


def late_start_reasons(step: int) -> list[str]:
    """Return why ``step`` may not be the first snapshot of its run; empty at step 0."""
    if step == 0:
        return []
    return [f"the first snapshot seen was step {step}, not 0: the run was resumed, or began there"]
