"""What a Python object holds, whatever its type: batches are of the user's own kinds."""

from __future__ import annotations

import copy
import types
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import torch

PLAIN = frozenset(
    {type(None), bool, int, float, complex, str, bytes, range, torch.dtype, torch.Size}
)
"""Types of values without identity, which nobody can write to."""

ATOMIC = (
    *PLAIN,
    type,
    np.generic,
    np.ndarray,
    torch.Tensor,
    torch.device,
    torch.Generator,
    np.random.Generator,
    np.random.RandomState,
    types.ModuleType,
    types.FunctionType,
    types.BuiltinFunctionType,
)
"""Types without parts that are looked into."""

MOST_OBJECTS = 200_000
"""A walk ends here: what holds more is a data set, whose items nobody writes to."""


def parts(thing: Any, *, with_plain: bool = False) -> Iterator[tuple[str, Any]]:
    """Yield what ``thing`` holds directly, each with the text that leads to it.

    Items of containers and attributes of objects, those in ``__slots__`` too.

    Args:
        thing: Any object.
        with_plain: Yield plain values such as numbers and text too.
    """
    if isinstance(thing, ATOMIC):
        return
    if isinstance(thing, Mapping):
        items = dict.items(thing) if isinstance(thing, dict) else thing.items()
        for key, value in list(items):
            if with_plain or type(value) not in PLAIN:
                yield f"[{key!r}]", value
    elif isinstance(thing, list | tuple | set | frozenset | deque):
        for index, value in enumerate(list(thing)):
            if with_plain or type(value) not in PLAIN:
                yield f"[{index}]", value
    for name, value in list(getattr(thing, "__dict__", {}).items()):
        if with_plain or type(value) not in PLAIN:
            yield f".{name}", value
    for name in _slots(type(thing)):
        if hasattr(thing, name):
            yield f".{name}", getattr(thing, name)


@lru_cache(maxsize=4096)
def _slots(kind: type) -> tuple[str, ...]:
    own = [one.__dict__.get("__slots__", ()) for one in kind.__mro__]
    names = [name for slots in own for name in ((slots,) if isinstance(slots, str) else slots)]
    return tuple(name for name in names if name not in ("__dict__", "__weakref__"))


def walk(
    thing: Any,
    name: str = "",
    *,
    skip: Callable[[Any], bool] | None = None,
    with_plain: bool = False,
) -> Iterator[tuple[str, Any]]:
    """Yield ``(name, object)`` for ``thing`` and all that it holds, each object once.

    Args:
        thing: Where to begin.
        name: What to call it.
        skip: Says which objects are left out, with what they hold.
        with_plain: Yield plain values such as numbers and text too.
    """
    waiting, seen = deque([(name, thing)]), set()
    while waiting and len(seen) < MOST_OBJECTS:
        path, one = waiting.popleft()
        if id(one) in seen or (skip is not None and skip(one)):
            continue
        seen.add(id(one))
        yield path, one
        waiting.extend((path + step, part) for step, part in parts(one, with_plain=with_plain))


def is_plain(container: Any) -> bool:
    """Say whether a tuple or list holds plain values only."""
    return type(container) in (tuple, list) and all(type(one) in PLAIN for one in container)


def tensors_in(thing: Any) -> list[torch.Tensor]:
    """Return the tensors that ``thing`` holds, each once, in a fixed order."""
    return [one for _, one in walk(thing) if isinstance(one, torch.Tensor)]


def map_tensors(function: Callable[[torch.Tensor], torch.Tensor], thing: Any) -> Any:
    """Return a copy of ``thing`` with every tensor replaced by ``function`` of it.

    Of any type that can be copied: mappings, dataclasses, named tuples, graphs, packed sequences.
    A tensor alone is mapped itself.
    """
    if isinstance(thing, torch.Tensor):
        return function(thing)
    if type(thing) in (list, tuple) and all(isinstance(x, torch.Tensor) for x in thing):
        return type(thing)(function(x) for x in thing)  # most batches, without a deep copy
    memo: dict[int, Any] = {id(tensor): function(tensor) for tensor in tensors_in(thing)}
    return copy.deepcopy(thing, memo)


def tensor_versions(thing: Any) -> tuple[int, ...]:
    """Return the version counters of its tensors: another answer means one was written to."""
    return tuple(tensor._version for tensor in tensors_in(thing) if not tensor.is_inference())
