"""A private copy of the module that trains: what is done to it never reaches the training.

``copy.deepcopy`` shares functions and the objects that they close over. A hook or a criterion that
is a lambda over ``self`` would run the live module. It also separates weights that share memory
without being one parameter, copies compiled modules together with their compiler, and refuses
tensors that are results. Here each of these is copied as training sees it.
"""

from __future__ import annotations

import copy
import functools
import io
import threading
import types
from collections import defaultdict
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from devtrack.errors import MetricError
from devtrack.model_state._object_graph import ATOMIC, is_plain, walk
from devtrack.model_state.stub_trainer import StubTrainer, Swallow, attach_stub, stub_of

_COMPILED = "_torchdynamo_orig_callable"  # what torch.compile of a function keeps of it


def private_copy(module: nn.Module, stub: StubTrainer | None = None) -> nn.Module:
    """Return a copy of ``module`` as it is now, which metrics may use as they like.

    Structure, weights, buffers, attributes and modes are those of this moment. Functions that close
    over a part of the module close over the copy's part. Compiled modules and functions are copied
    without their compiler, and run eagerly. Open files and clients of experiment trackers become
    objects that swallow what they are given; ``log`` and its kin do nothing.

    Args:
        module: Read only.
        stub: What the copy finds as its Trainer; that of ``module``, if it is a copy itself, or
            one that knows nothing.

    Raises:
        MetricError: If an attribute of the module cannot be copied.
    """
    stub = stub_of(module) or StubTrainer() if stub is None else stub
    memo: dict[int, Any] = {}
    try:
        holds_functions = _share(module, memo, stub)
        twin = copy.deepcopy(module, memo)
        if holds_functions:
            _rebind(twin, memo)
    except Exception as error:  # any attribute of the user's may refuse, in any way
        raise MetricError(
            f"{type(module).__name__} cannot be copied ({type(error).__name__}: {error}): devtrack "
            f"measures a private copy. Leave the attribute out in __getstate__, or create it in "
            f"on_train_start."
        ) from error
    for part in twin.modules():
        part.__dict__.pop("_compiled_call_impl", None)
    attach_stub(twin, stub)
    return twin


def is_initialized(module: nn.Module) -> bool:
    """Say whether every weight has a shape; lazy layers get theirs by a first forward pass."""
    tensors = [*module.parameters(), *module.buffers()]
    return not any(isinstance(t, UninitializedParameter | UninitializedBuffer) for t in tensors)


def eager(module: nn.Module) -> nn.Module:
    """Return the module that ``torch.compile`` has wrapped, or the module itself."""
    original = module.__dict__.get("_modules", {}).get("_orig_mod")
    return original if type(module).__name__ == "OptimizedModule" and original else module


def _share(module: nn.Module, memo: dict[int, Any], stub: StubTrainer) -> bool:
    """Put into ``memo`` the copies that deepcopy would make wrongly, slowly, or not at all.

    Returns:
        Whether the module holds functions that may have to be bound to the copy.
    """
    trainer = module.__dict__.get("_trainer")
    if trainer is not None and not isinstance(trainer, StubTrainer):
        memo[id(trainer)] = stub  # helpers of the module may hold it too
    holds_functions = False
    for _, one in walk(module, skip=_is_trainer):
        if isinstance(one, torch.Tensor):
            if not one.is_leaf:  # it hangs on a graph, as a loss that was kept
                memo[id(one)] = one.detach().clone()
        elif isinstance(one, _LOCKS):
            memo[id(one)] = threading.RLock()
        elif _reports(one):
            memo[id(one)] = Swallow()
        elif is_plain(one):
            memo[id(one)] = one if type(one) is tuple else list(one)  # not item by item
        else:
            holds_functions = holds_functions or _may_be_bound(one)
    _copy_shared_storage(module, memo)
    for part in module.modules():
        if part.__dict__.get("_compiler_ctx") is not None:  # of trainer.fit(torch.compile(module))
            memo[id(part.__dict__["_compiler_ctx"])] = None
    for part in reversed(list(module.modules())):
        if eager(part) is not part:
            memo[id(part)] = copy.deepcopy(eager(part), memo)
    return holds_functions


_LOCKS = (type(threading.Lock()), type(threading.RLock()))

_CLIENTS = (
    "wandb",
    "mlflow",
    "tensorboard",
    "torch.utils.tensorboard",
    "neptune",
    "comet_ml",
    "aim",
)


def _reports(one: Any) -> bool:
    """Say whether an object sends what it is given out of the process: a file, a client."""
    if isinstance(one, io.IOBase):
        return not one.closed and one.writable()
    return type(one).__module__.startswith(_CLIENTS) or type(one).__module__ == "_csv"


def _may_be_bound(one: Any) -> bool:
    """Say whether a function may hold a part of the module."""
    if isinstance(one, types.FunctionType):
        held = one.__closure__ or one.__defaults__ or one.__kwdefaults__
        return bool(held) or hasattr(one, _COMPILED)
    return isinstance(one, functools.partial) or (callable(one) and hasattr(one, _COMPILED))


def _is_trainer(thing: Any) -> bool:
    kind = type(thing)
    return kind is StubTrainer or (kind.__name__ == "Trainer" and "lightning" in kind.__module__)


def _copy_shared_storage(module: nn.Module, memo: dict[int, Any]) -> None:
    """Copy parameters that are views of one memory as views of one copy."""
    sharing: dict[int, list[nn.Parameter]] = defaultdict(list)
    for parameter in module.parameters():
        plain = type(parameter) is nn.Parameter and parameter.layout is torch.strided
        if plain and parameter.device.type != "meta" and parameter.numel():
            sharing[parameter.untyped_storage().data_ptr()].append(parameter)
    for group in sharing.values():
        if len(group) > 1:
            storage = group[0].untyped_storage().clone()
            for one in group:
                place = one.storage_offset(), one.size(), one.stride()
                view = torch.empty(0, dtype=one.dtype, device=one.device).set_(storage, *place)
                memo[id(one)] = nn.Parameter(view, requires_grad=one.requires_grad)


def _rebind(twin: nn.Module, memo: dict[int, Any]) -> None:
    """Replace the functions that the copy shares with the original by functions over the copy."""
    for _, holder in list(walk(twin, skip=lambda x: isinstance(x, StubTrainer))):
        if isinstance(holder, ATOMIC):  # a function is shared: nothing of it may be written to
            continue
        if isinstance(holder, dict):
            for key, value in list(dict.items(holder)):
                if (own := _own(value, memo)) is not value:
                    dict.__setitem__(holder, key, own)
        elif isinstance(holder, list):
            holder[:] = [_own(value, memo) for value in holder]
        for name, value in list(getattr(holder, "__dict__", {}).items()):
            if (own := _own(value, memo)) is not value:
                holder.__dict__[name] = own


def _own(value: Any, memo: dict[int, Any]) -> Any:
    """Return a function as the copy should have it; anything else as it is."""
    if hasattr(value, _COMPILED) and callable(value) and not isinstance(value, nn.Module):
        return _own(_of_copy(getattr(value, _COMPILED), memo), memo)
    if isinstance(value, functools.partial):
        inner = _own(value.func, memo)
        return (
            value
            if inner is value.func
            else functools.partial(inner, *value.args, **value.keywords)
        )
    if type(value) is tuple:
        own = tuple(_own(item, memo) for item in value)
        return own if any(a is not b for a, b in zip(own, value, strict=True)) else value
    if isinstance(value, types.FunctionType):
        return _function(value, memo)
    return value


def _function(function: types.FunctionType, memo: dict[int, Any]) -> types.FunctionType:
    if (known := memo.get(id(function))) is not None:
        return known
    cells = function.__closure__ or ()
    memo[id(function)] = function  # it may close over itself
    held = [_of_copy(cell.cell_contents, memo) if _is_filled(cell) else None for cell in cells]
    defaults = _of_copy(function.__defaults__, memo)
    kwdefaults = _of_copy(function.__kwdefaults__, memo)
    same = all(
        not _is_filled(cell) or cell.cell_contents is new
        for cell, new in zip(cells, held, strict=True)
    )
    if same and defaults is function.__defaults__ and kwdefaults is function.__kwdefaults__:
        return function
    closure = tuple(
        types.CellType(new) if _is_filled(cell) else cell
        for cell, new in zip(cells, held, strict=True)
    )
    own = types.FunctionType(
        function.__code__, function.__globals__, function.__name__, defaults, closure
    )
    own.__kwdefaults__ = kwdefaults
    own.__dict__.update(function.__dict__)
    own.__qualname__ = function.__qualname__
    memo[id(function)] = memo[id(own)] = own
    return own


def _is_filled(cell: types.CellType) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:
        return False
    return True


def _of_copy(value: Any, memo: dict[int, Any]) -> Any:
    """Return what the copy has in place of what a function closes over."""
    if isinstance(value, types.FunctionType):
        return _function(value, memo)
    try:
        return copy.deepcopy(value, memo)
    except Exception:  # noqa: BLE001 - a lock, a file: shared, and the fidelity check decides
        return value
