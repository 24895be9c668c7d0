"""What a tracker can be given: every argument is checked before anything has started."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch import nn

from devtrack._checks import require_bool, require_int, require_positive
from devtrack.errors import ConfigError, MetricError
from devtrack.metrics.metric import Metric
from devtrack.model_state._private_copy import private_copy
from devtrack.model_state.isolation import isolated
from devtrack.monitoring.monitor import Monitor
from devtrack.schedules import Schedule


def require_schedule(schedule: Any) -> None:
    """Raise ConfigError unless it says which steps to observe."""
    if isinstance(schedule, type) or not isinstance(schedule, Schedule):
        raise ConfigError(
            f"schedule={schedule!r}: must be a schedule. "
            "Pass schedules.every(100), schedules.log_spaced(100) or schedules.at([10, 100])."
        )


def require_metrics(metrics: Any) -> list[Metric]:
    """Return them as a list; raise ConfigError unless they are metrics with names of their own."""
    if not isinstance(metrics, Iterable):
        raise ConfigError(
            f"metrics={metrics!r}: must be a list of metrics. Write metrics=[Loss()], say."
        )
    listed = list(metrics)
    for metric in listed:
        is_one = isinstance(metric, Metric) and not isinstance(metric, type)
        if not is_one or not (isinstance(metric.name, str) and metric.name.strip()):
            raise ConfigError(
                f"metrics holds {metric!r}: must be objects with a name and compute(subject). "
                "Pass an instance such as Loss(), or wrap a function: "
                "FunctionMetric('name', function)."
            )
        _require_options(metric)
    names = [metric.name for metric in listed]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(
            f"metrics with the same name {twice}: names must be unique in a tracker. "
            "Pass name= to one of them, e.g. Loss(name='test_loss', data=…)."
        )
    return listed


def _require_options(metric: Metric) -> None:
    try:
        require_int("every", getattr(metric, "every", 1), at_least=1)
        if (limit := getattr(metric, "timeout_s", None)) is not None:
            require_positive("timeout_s", limit)
    except ConfigError as error:
        raise ConfigError(f"metric {metric.name!r} with {error}") from None


def require_name(name: Any) -> None:
    """Raise ConfigError unless a run can be called so."""
    if name is not None and not (isinstance(name, str) and name.strip()):
        raise ConfigError(
            f"name={name!r}: must be a text, or None for the module's class. Pass name='my run'."
        )


def require_share(name: str, value: Any) -> None:
    """Raise ConfigError unless it is None or a share of the training time."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if value is not None and not (is_number and 0 <= value <= 1):
        raise ConfigError(
            f"{name}={value!r}: must be a share of the training time, from 0 to 1, or None. "
            f"Pass {name}=0.05 for 5 %."
        )


def require_replicated(strategy: Any) -> None:
    """Raise ConfigError unless every process holds whole weights under a Trainer's strategy.

    It is recognized by the names of its classes, so that those of ``pytorch_lightning`` are known
    too.
    """
    names = {kind.__name__ for kind in type(strategy).__mro__}
    if not names & {"SingleDeviceStrategy", "DDPStrategy"} or "DeepSpeedStrategy" in names:
        raise ConfigError(
            f"strategy {type(strategy).__name__}: devtrack reads whole weights, so each process "
            f"must hold them. Use a single device or strategy='ddp'."
        )


def require_copy(module: nn.Module) -> None:
    """Raise ConfigError unless the module can be copied."""
    try:
        with isolated():
            private_copy(module)
    except MetricError as error:
        raise ConfigError(str(error)) from error


def require_monitor(monitor: Any) -> None:
    """Raise ConfigError unless it is None or a monitor, not its class."""
    if monitor is not None and not isinstance(monitor, Monitor):
        raise ConfigError(f"monitor={monitor!r}: must be a Monitor or None. Pass Monitor().")


def require_one_process(monitor: Monitor | None, world_size: int) -> None:
    """Raise ConfigError if a monitor would watch one of several processes."""
    if monitor is not None and world_size > 1:
        raise ConfigError(
            f"monitor= on {world_size} processes: must be one, since the others would not hear of "
            "a stop or a checkpoint. Leave monitor out, or train on one device."
        )


def require_store(store: Any) -> None:
    """Raise ConfigError unless it is a path."""
    if not isinstance(store, str | Path) or not str(store).strip():
        raise ConfigError(f"store={store!r}: must be the path of a folder. Pass store='runs'.")


def require_switches(**switches: Any) -> None:
    """Raise ConfigError unless each is True or False."""
    for name, value in switches.items():
        require_bool(name, value)
