"""The fidelity check: the copy is private, and its objective is the one that trains.

Everything that is stored stands on two facts that ordinary code can break. The copy is private: a
call of the objective on it reads and writes no tensor of the live module. The copy is faithful: it
gives the loss that the training step returns for the same batch. For that it gets the live module's
modes and random numbers. Both are tried on the batch that training is about to step on.
"""

from __future__ import annotations

import logging
import math
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from devtrack.errors import ConfigError
from devtrack.model_state._object_graph import tensors_in
from devtrack.model_state._private_copy import private_copy
from devtrack.model_state._python_state import PythonState, module_state
from devtrack.model_state._reachable_globals import classes_of, reachable_globals
from devtrack.model_state.isolation import Streams, isolated

PERTURBATION = 0.1
"""Standard deviation of the noise on the copy's weights, as a share of theirs, plus 1e-3."""

TOLERANCES = {
    torch.float64: 1e-9,
    torch.float32: 1e-5,
    torch.bfloat16: 2e-2,
    torch.float16: 2e-3,
}
"""Relative difference of two losses that counts as rounding, by the lowest precision used. It is a
few units in the last place, summed over a batch in another order."""

COMPILED_TOLERANCE = 1e-3
"""Likewise where training runs compiled: fused kernels round elsewhere than the eager copy."""


class Check(NamedTuple):
    """What was found on one batch.

    Attributes:
        loss: The copy's loss, as training computes it; NaN if it could not be computed.
        is_sensitive: Whether the loss moved with the copy's weights.
        error: Why the copy could not compute it; empty if it could.
        sends: What the step sends out of the process, such as files that it opens.
    """

    loss: float
    is_sensitive: bool
    error: str = ""
    sends: tuple[str, ...] = ()


class Mismatch(NamedTuple):
    """Training's loss and the copy's, on one batch with the same weights and random numbers.

    Attributes:
        training, copy: The two losses.
        cause: What is likely behind their difference.
    """

    training: float
    copy: float
    cause: str

    def __str__(self) -> str:
        return (
            f"the training step returned {self.training:.6g} where its copy gives "
            f"{self.copy:.6g}; {self.cause}"
        )


def check_copy(
    live: nn.Module,
    copy: nn.Module,
    objective: Callable[[nn.Module], torch.Tensor],
    *,
    streams: Streams,
    context: Callable[[], AbstractContextManager[Any]],
) -> Check:
    """Try the objective on a private copy before anything else does.

    Args:
        live: The module that trains; left as it is.
        copy: Its private copy; left as it is.
        objective: Calls the objective on a copy, on the batch that training is about to step on.
        streams: Where the random streams stand as the training step begins.
        context: Entered around every call: the precision of the training.

    Raises:
        ConfigError: If the objective reaches a tensor or an attribute of the live module.
    """
    name = type(live).__name__
    before, shared = (
        module_state(live, with_hooks=True),
        PythonState(reachable_globals(*classes_of(live))),
    )
    guard = _LiveGuard(live, copy)
    losses, error, sends = [], "", set()
    for perturbs in (False, True):
        twin = private_copy(copy)
        if perturbs:
            _perturb(twin)
        try:
            with isolated(streams=streams), context(), _sent(sends), guard, torch.enable_grad():
                losses.append(float(objective(twin).detach().double().mean()))
        except LiveTouchedError as touched:
            before.restore()
            raise ConfigError(_not_private(name, str(touched))) from None
        except Exception as failure:  # noqa: BLE001 - a step that a copy cannot run: its rows say so
            error = f"{type(failure).__name__}: {failure}"
            break
        finally:
            shared.restore()
    if touched := before.restore():
        raise ConfigError(_not_private(name, touched[0]))
    if error:
        return Check(math.nan, True, error, tuple(sorted(sends)))
    plain, perturbed = losses
    moved = plain != perturbed or math.isnan(plain)
    return Check(plain, moved, "", tuple(sorted(sends)))


def compare(
    check: Check, loss: torch.Tensor, *, is_compiled: bool, precision: str
) -> Mismatch | None:
    """Return the difference between training's loss and the copy's; None if there is none.

    Args:
        check: What the copy gave.
        loss: What the training step has returned.
        is_compiled: Whether training runs compiled.
        precision: The trainer's, such as ``"bf16-mixed"``.
    """
    training = float(loss.detach().double().mean())
    if check.error:
        return Mismatch(training, math.nan, f"a copy cannot run the step ({check.error})")
    tolerance = TOLERANCES.get(loss.dtype, 1e-5)
    for name, dtype in (("bf16", torch.bfloat16), ("16-", torch.float16)):
        if name in precision:
            tolerance = max(tolerance, TOLERANCES[dtype])
    if is_compiled:
        tolerance = max(tolerance, COMPILED_TOLERANCE)
    if not check.is_sensitive:
        cause = "the loss does not move with the weights of the copy: it is of something else"
        return Mismatch(training, check.loss, cause)
    both_nan = math.isnan(training) and math.isnan(check.loss)
    close = math.isclose(training, check.loss, rel_tol=tolerance, abs_tol=tolerance / 100)
    if both_nan or training == check.loss or close:
        return None
    cause = (
        "the step depends on something outside the module: other ranks, a global, a callback, or a "
        "random generator of its own"
    )
    return Mismatch(training, check.loss, cause)


class LiveTouchedError(RuntimeError):
    """The objective reached a tensor of the live module."""


class _LiveGuard(TorchDispatchMode):
    """Raises before an operation reads or writes a tensor of the live module."""

    def __init__(self, live: nn.Module, copy: nn.Module) -> None:
        super().__init__()
        own = {_place(tensor) for tensor in tensors_in(copy)}
        named = [*live.named_parameters(), *live.named_buffers()]
        self._live = {_place(tensor): name for name, tensor in named}
        for place in [None, *own]:
            self._live.pop(place, None)

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        for value in [*args, *kwargs.values()]:
            for tensor in value if isinstance(value, list | tuple) else (value,):
                if isinstance(tensor, torch.Tensor) and _place(tensor) in self._live:
                    raise LiveTouchedError(self._live[_place(tensor)])
        return func(*args, **kwargs)


def _place(tensor: torch.Tensor) -> int | None:
    """Return where a tensor's memory lies; None if it has none."""
    if tensor.layout is not torch.strided or tensor.device.type == "meta" or not tensor.numel():
        return None
    try:
        return tensor.untyped_storage().data_ptr() or None
    except (RuntimeError, NotImplementedError):  # a subclass without storage
        return None


def _perturb(model: nn.Module) -> None:
    """Add noise to every weight of a copy that can hold it."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            is_number = parameter.is_floating_point() or parameter.is_complex()
            if is_number and parameter.layout is torch.strided:
                noise = torch.randn(parameter.shape, generator=generator).to(parameter)
                spread = parameter.abs().std() if parameter.numel() > 1 else parameter.abs().sum()
                parameter.add_(noise * (PERTURBATION * spread.nan_to_num() + 1e-3))


def _not_private(name: str, touched: str) -> str:
    return (
        f"{name}: its training step reaches {touched!r} of the live module through something that "
        f"cannot be copied with it, so that measuring would change the training. Pass "
        f"loss=lambda model, batch: … to the tracker, which uses the model that it is given."
    )


@contextmanager
def _sent(seen: set[str]) -> Iterator[None]:
    """Note what the block sends out of the process: files, connections, processes, log records."""
    _listen()
    make_record = logging.getLogRecordFactory()

    def noting(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make_record(*args, **kwargs)
        if not record.name.startswith(("torch", "devtrack")):
            seen.add(f"log records of {record.name!r}")
        return record

    logging.setLogRecordFactory(noting)
    _LISTENING.append((threading.get_ident(), seen))
    try:
        yield
    finally:
        _LISTENING.pop()
        logging.setLogRecordFactory(make_record)


_LISTENING: list[tuple[int, set[str]]] = []
_has_hook = False


def _listen() -> None:
    """Add the audit hook of this process, which cannot be removed and mostly does nothing."""
    global _has_hook
    if not _has_hook:
        _has_hook = True
        sys.addaudithook(_hear)


def _hear(event: str, args: tuple[Any, ...]) -> None:
    if not _LISTENING or _LISTENING[-1][0] != threading.get_ident():
        return
    if event == "open" and isinstance(args[1], str) and any(c in args[1] for c in "wax+"):
        if str(args[0]) != os.devnull:
            _LISTENING[-1][1].add(f"file {os.path.basename(os.fspath(args[0]))!r}")  # noqa: PTH119
    elif event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        _LISTENING[-1][1].add("data to a network connection")
    elif event in ("subprocess.Popen", "os.system", "os.posix_spawn"):
        _LISTENING[-1][1].add("work to another process")
