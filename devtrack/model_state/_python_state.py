"""The Python state that a call can leave behind, taken beforehand and put back afterwards.

A training step may count its calls, keep its outputs in a list, move a queue or draw from a
generator of its own. A measurement calls it thousands of times: each call must find the same
function, and nothing may pile up.
"""

from __future__ import annotations

import operator
import random
import types
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset

from devtrack.model_state._object_graph import walk

LARGEST_TENSOR = 2**24  # elements; what is larger is compared by its version, and not put back

_OWN_PLACES = ("_trainer", "_fabric")
"""Attributes of a module that lead out of it."""


_EXCHANGED = ("._parameters",)
_HOOKS = ("_hooks", "_hooks_with_kwargs", "_hooks_always_called")
"""Ends of the names of dictionaries that samplers and metrics write to."""


class _Held(NamedTuple):
    """One object whose content was taken.

    Attributes:
        name: The path that leads to it.
        is_same: Says whether its content is what was taken.
        put_back: Brings the content back.
        is_exchanged: Whether a sampler puts another content there for the time of a call.
    """

    name: str
    is_same: Callable[[], bool]
    put_back: Callable[[], None]
    is_exchanged: bool = False


class PythonState:
    """What objects hold at one moment: attributes, items, tensors, positions of generators.

    Parameters are not in it: whoever trains or samples writes to them.

    Args:
        things: What to look after, by name, with all that it holds.
        with_hooks: Look after the hooks of modules too; metrics set their own on a copy.
    """

    def __init__(self, things: Mapping[str, Any], *, with_hooks: bool = False) -> None:
        left_out = _EXCHANGED if with_hooks else (*_EXCHANGED, *_HOOKS)
        self._held: list[_Held] = []
        for name, thing in things.items():
            if isinstance(thing, GlobalName | ClassContent):
                self._held.extend(_take(name, thing))
                continue
            for path, one in walk(thing, name, skip=_leads_out):
                if not path.endswith(left_out):
                    self._held.extend(_take(path, one))

    def changes(self, *, exchanged: bool = False) -> list[str]:
        """Return the names of the objects whose content is another one now.

        Args:
            exchanged: Leave the names of buffers out: a sampler has put others there.
        """
        return [held.name for held in self._changed(exchanged)]

    def restore(self, *, exchanged: bool = False) -> list[str]:
        """Bring all contents back; return the names of those that were others.

        Args:
            exchanged: As for ``changes``.
        """
        changed = self._changed(exchanged)
        for held in changed:
            held.put_back()
        return [held.name for held in changed]

    def _changed(self, exchanged: bool) -> list[_Held]:
        return [
            held
            for held in self._held
            if not (exchanged and held.is_exchanged) and not held.is_same()
        ]


def module_state(module: nn.Module, *, with_hooks: bool = False) -> PythonState:
    """Return the Python state of a module and its parts (see ``PythonState``)."""
    return PythonState({type(module).__name__: module}, with_hooks=with_hooks)


class GlobalName:
    """A name of a module, which code may bind to another value."""

    def __init__(self, names: dict[str, Any], name: str) -> None:
        self.names, self.name = names, name


class ClassContent:
    """A class whose attributes code may write to."""

    def __init__(self, kind: type) -> None:
        self.kind = kind


_AT_WORK = (
    "asyncio",
    "concurrent",
    "devtrack",
    "lightning",
    "multiprocessing",
    "pytorch_lightning",
    "queue",
    "threading",
    "torch.optim",
    "torch.utils.data",
)
"""Packages whose objects work for the training, some in threads of their own. A loader's queues
change while a metric is computed, and must not be restored."""


def _leads_out(one: Any) -> bool:
    """Say whether an object leads out of the module, into the training."""
    if isinstance(one, nn.Module | Dataset):
        return False
    home = type(one).__module__ or ""
    return any(home == package or home.startswith(package + ".") for package in _AT_WORK)


def _take(name: str, one: Any) -> Iterable[_Held]:
    if isinstance(one, GlobalName):
        yield from _take_global(name, one)
    elif isinstance(one, ClassContent):
        yield from _take_class(name, one.kind)
    elif isinstance(one, torch.Tensor):
        if not isinstance(one, nn.Parameter):
            yield _take_tensor(name, one)
    elif isinstance(one, np.ndarray) and one.size <= LARGEST_TENSOR and one.dtype != object:
        yield _take_array(name, one)
    elif isinstance(one, dict):
        yield _take_dict(name, one)._replace(is_exchanged=name.endswith("._buffers"))
    elif isinstance(one, list | deque):
        yield _take_list(name, one)
    elif isinstance(one, set):
        yield _take_set(name, one)
    elif (stream := _stream(one)) is not None:
        taken = stream[0]()
        same = lambda: _same_content(stream[0](), taken)  # noqa: E731
        yield _Held(name, same, lambda: stream[1](taken))
    if isinstance(attributes := getattr(one, "__dict__", None), dict):
        yield _take_dict(name, attributes)


def _stream(one: Any) -> tuple[Callable[[], Any], Callable[[Any], Any]] | None:
    """Return how to read and set the position of a random generator; None for another object."""
    if isinstance(one, torch.Generator):
        return one.get_state, one.set_state
    if isinstance(one, np.random.Generator):
        source = one.bit_generator
        return lambda: source.state, lambda state: setattr(source, "state", state)
    if isinstance(one, np.random.RandomState):
        return one.get_state, one.set_state
    if isinstance(one, random.Random):
        return one.getstate, one.setstate
    return None


def _take_dict(name: str, one: dict[Any, Any]) -> _Held:
    taken = {key: value for key, value in dict.items(one) if key not in _OWN_PLACES}

    def is_same() -> bool:
        now = {key: value for key, value in dict.items(one) if key not in _OWN_PLACES}
        if now.keys() != taken.keys():
            return False
        return all(now[key] is taken[key] or _equal(now[key], taken[key]) for key in taken)

    def put_back() -> None:
        for key in [key for key in dict.keys(one) if key not in taken and key not in _OWN_PLACES]:
            dict.__delitem__(one, key)
        for key, value in taken.items():
            dict.__setitem__(one, key, value)

    return _Held(name, is_same, put_back)


def _take_list(name: str, one: list[Any] | deque[Any]) -> _Held:
    taken = list(one)

    def is_same() -> bool:
        if len(one) != len(taken):
            return False
        return all(map(operator.is_, one, taken)) or all(map(_equal, one, taken))

    def put_back() -> None:
        one.clear()
        one.extend(taken)

    return _Held(name, is_same, put_back)


def _take_set(name: str, one: set[Any]) -> _Held:
    taken = set(one)

    def put_back() -> None:
        one.clear()
        one.update(taken)

    return _Held(name, lambda: one == taken, put_back)


def _take_tensor(name: str, one: torch.Tensor) -> _Held:
    version = one._version if not one.is_inference() else 0
    is_small = one.numel() <= LARGEST_TENSOR and one.is_leaf
    copied = one.detach().clone() if is_small else None

    def is_same() -> bool:
        if copied is not None:  # batch_norm writes its running means without counting it
            return _same_tensor(one.detach(), copied)
        return one.is_inference() or one._version == version

    def put_back() -> None:
        if copied is not None:
            with torch.no_grad():
                one.copy_(copied)

    return _Held(name, is_same, put_back)


def _same_tensor(left: torch.Tensor, right: torch.Tensor) -> bool:
    if left.shape != right.shape:
        return False
    if left.is_floating_point() or left.is_complex():
        return torch.allclose(left, right, rtol=0, atol=0, equal_nan=True)
    return torch.equal(left, right)


def _take_array(name: str, one: np.ndarray) -> _Held:
    taken = one.copy()

    def put_back() -> None:
        one[...] = taken

    return _Held(
        name, lambda: np.array_equal(one, taken, equal_nan=one.dtype.kind in "fc"), put_back
    )


def _take_global(name: str, place: GlobalName) -> Iterable[_Held]:
    taken = place.names[place.name]

    def is_same() -> bool:
        return _equal(place.names.get(place.name), taken)

    def put_back() -> None:
        place.names[place.name] = taken

    yield _Held(name, is_same, put_back)
    for path, one in walk(taken, name, skip=_leads_out):
        yield from _take(path, one)


def _take_class(name: str, kind: type) -> Iterable[_Held]:
    """Take the attributes of a class that are no part of its definition."""
    plain = {k: v for k, v in vars(kind).items() if not k.startswith("__") and not callable(v)}
    plain = {k: v for k, v in plain.items() if not hasattr(v, "__get__")}

    def now() -> dict[str, Any]:
        return {k: vars(kind).get(k, _MISSING) for k in plain}

    def is_same() -> bool:
        return all(_equal(value, plain[key]) for key, value in now().items())

    def put_back() -> None:
        for key, value in plain.items():
            if not _equal(vars(kind).get(key, _MISSING), value):
                setattr(kind, key, value)

    yield _Held(name, is_same, put_back)
    for key, value in plain.items():
        for path, one in walk(value, f"{name}.{key}", skip=_leads_out):
            yield from _take(path, one)


_MISSING = object()


def _equal(left: Any, right: Any) -> bool:
    if left is right:
        return True
    if isinstance(left, torch.Tensor | np.ndarray) or isinstance(right, torch.Tensor | np.ndarray):
        return False
    if type(left) is not type(right):
        return False
    if isinstance(left, bool | int | float | str | bytes):
        return left == right
    if isinstance(left, types.MethodType):
        return left.__func__ is right.__func__ and left.__self__ is right.__self__
    return False


def _same_content(left: Any, right: Any) -> bool:
    """Compare two positions of a random generator: numbers and arrays in plain containers."""
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(
            _same_content(left[key], right[key]) for key in left
        )
    if isinstance(left, tuple | list):
        return len(left) == len(right) and all(map(_same_content, left, right))
    if isinstance(left, torch.Tensor):
        return torch.equal(left, right)
    return bool(np.array_equal(left, right))
