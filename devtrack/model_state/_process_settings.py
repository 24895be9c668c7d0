"""The settings of a process that code beside a training may change, and must not.

Each is a pair of ``take``, which returns its state, and ``put``, which restores it. Some setters
have effects of their own, so ``put`` writes only where the state differs.
"""

from __future__ import annotations

import gc
import os
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.modules.module as torch_module
import torch.utils._device as torch_device
import torch.utils._python_dispatch as dispatch


class Setting(NamedTuple):
    """One setting of the process: how to read it, and how to bring it back."""

    take: Callable[[], Any]
    put: Callable[[Any], None]


def take_settings() -> list[Any]:
    """Return the state of every setting."""
    return [setting.take() for setting in SETTINGS]


def put_back(states: list[Any]) -> None:
    """Bring every setting back to a state from ``take_settings``."""
    for setting, state in zip(SETTINGS, states, strict=True):
        if setting.take() != state:
            setting.put(state)


def _deterministic() -> tuple[bool, bool]:
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )


def _cudnn() -> tuple[bool, bool, bool]:
    cudnn = torch.backends.cudnn
    return cudnn.enabled, cudnn.benchmark, cudnn.deterministic


def _set_cudnn(state: tuple[bool, bool, bool]) -> None:
    cudnn = torch.backends.cudnn
    cudnn.enabled, cudnn.benchmark, cudnn.deterministic = state


def _set_filters(filters: list[Any]) -> None:
    warnings.filters[:] = filters  # type: ignore[index] - a list, typed as a sequence
    warnings._filters_mutated()  # type: ignore[attr-defined] - as the module's own setters do


def _working_directory() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109 - a text compares cheaply
    except FileNotFoundError:  # the training's own folder was removed
        return None


def _change_directory(folder: str | None) -> None:
    if folder is not None:
        with suppress(OSError):
            os.chdir(folder)


def _set_environment(variables: dict[str, str]) -> None:
    for name in os.environ.keys() - variables.keys():
        del os.environ[name]
    os.environ.update(variables)


_HOOKS = [
    getattr(torch_module, name)
    for name in dir(torch_module)
    if name.startswith("_global_") and isinstance(getattr(torch_module, name), dict)
]


def _set_hooks(states: list[list[Any]]) -> None:
    for hooks, state in zip(_HOOKS, states, strict=True):
        hooks.clear()
        hooks.update(state)


def _pop_modes(length: Callable[[], int], pop: Callable[[], Any]) -> Callable[[int], None]:
    def put(depth: int) -> None:
        while length() > depth:  # entered and never left
            pop()

    return put


_AUTOGRAD: Any = torch._C._autograd  # type: ignore[attr-defined] - a module without a stub


def _saved_tensors_hooks() -> Any:
    return _AUTOGRAD._top_saved_tensors_default_hooks(True)


def _pop_saved_tensors_hooks(before: Any) -> None:
    while (top := _saved_tensors_hooks()) is not None and top != before:
        _AUTOGRAD._pop_saved_tensors_default_hooks()


SETTINGS = (
    Setting(torch.is_grad_enabled, lambda on: torch.set_grad_enabled(on) and None),
    Setting(torch.get_default_dtype, torch.set_default_dtype),
    # before the stack of modes: a default device is one of them
    Setting(lambda: torch_device.CURRENT_DEVICE, torch.set_default_device),
    Setting(
        torch._C._len_torch_function_stack,
        _pop_modes(torch._C._len_torch_function_stack, torch._C._pop_torch_function_stack),
    ),
    Setting(
        torch._C._len_torch_dispatch_stack,
        _pop_modes(torch._C._len_torch_dispatch_stack, dispatch._pop_mode),
    ),
    Setting(_saved_tensors_hooks, _pop_saved_tensors_hooks),
    Setting(lambda: [list(hooks.items()) for hooks in _HOOKS], _set_hooks),
    Setting(torch.get_num_threads, torch.set_num_threads),
    Setting(torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    Setting(_deterministic, lambda s: torch.use_deterministic_algorithms(s[0], warn_only=s[1])),
    Setting(_cudnn, _set_cudnn),
    Setting(torch.backends.mha.get_fastpath_enabled, torch.backends.mha.set_fastpath_enabled),
    Setting(
        lambda: (torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()),
        lambda s: torch.set_anomaly_enabled(*s),
    ),
    Setting(lambda: list(warnings.filters), _set_filters),
    Setting(np.geterr, lambda state: np.seterr(**state) and None),
    Setting(gc.isenabled, lambda on: gc.enable() if on else gc.disable()),
    Setting(gc.get_threshold, lambda state: gc.set_threshold(*state)),
    Setting(_working_directory, _change_directory),
    Setting(lambda: dict(os.environ), _set_environment),
)
"""All of them, in the order in which they are brought back."""
