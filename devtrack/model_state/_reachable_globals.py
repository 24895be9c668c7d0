"""The module-level objects that the code of a class can write to: clients, counters, generators."""

from __future__ import annotations

import sys
import types
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from devtrack.model_state._python_state import ClassContent, GlobalName, PythonState


@contextmanager
def kept_globals(*kinds: type) -> Iterator[None]:
    """Put the module-level objects back that methods of these classes can write to."""
    state = PythonState(reachable_globals(*kinds))
    try:
        yield
    finally:
        state.restore()


def classes_of(module: nn.Module) -> set[type]:
    """Return the classes of a module and its parts."""
    return {type(part) for part in module.modules()}


def reachable_globals(*kinds: type) -> dict[str, Any]:
    """Return the module-level objects that the methods of classes can write to, by name.

    These are the objects that the code of the classes names, and those that its functions and
    classes name. Lists, dicts, counters, random generators and the user's own objects count.
    Installed packages do not.
    """
    found: dict[str, Any] = {}
    classes = {one for kind in kinds for one in kind.__mro__}
    waiting: deque[Any] = deque(kind for kind in classes if _is_users(kind))
    seen: set[int] = set()
    while waiting:
        one = waiting.popleft()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, type):
            waiting.extend(_functions_of(one))
            continue
        for name in _names(one.__code__):
            if name not in one.__globals__:
                continue
            value = one.__globals__[name]
            if isinstance(value, types.FunctionType | type):
                if _is_users(value):
                    waiting.append(value)
                    if isinstance(value, type) and value not in classes:
                        found[f"{value.__module__}.{value.__qualname__}"] = ClassContent(value)
            elif not isinstance(value, types.ModuleType | types.BuiltinFunctionType):
                found[f"{one.__module__}.{name}"] = GlobalName(one.__globals__, name)
    return found


def _functions_of(kind: type) -> Iterable[types.FunctionType]:
    for value in vars(kind).values():
        function = getattr(value, "__func__", None) or getattr(value, "fget", None) or value
        if isinstance(function, types.FunctionType):
            yield function


def _names(code: types.CodeType) -> set[str]:
    inner = (one for one in code.co_consts if isinstance(one, types.CodeType))
    return set(code.co_names).union(*map(_names, inner))


def _is_users(thing: Any) -> bool:
    """Say whether a class or function was written by the user, not installed."""
    home = sys.modules.get(getattr(thing, "__module__", "") or "")
    file = getattr(home, "__file__", None)
    if file is None:
        return getattr(thing, "__module__", "") == "__main__"
    return not any(place in file for place in ("site-packages", "dist-packages", sys.base_prefix))
