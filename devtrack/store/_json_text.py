"""Any Python value as JSON text; a strange value must never cost its row."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from datetime import date
from enum import Enum
from typing import Any

import numpy as np

_MAX_DEPTH = 12  # an object that contains itself twice grows as 2^depth


def to_json(value: Any) -> str:
    """Return strict JSON: NaN as null, infinities as strings, unknown objects as ``str(value)``.

    Example:
        >>> to_json({"rhat": float("nan"), "ess": np.float32(2), 3: {"x"}, "loss": float("inf")})
        '{"rhat":null,"ess":2.0,"3":["x"],"loss":"Infinity"}'
    """
    text = json.dumps(_plain(value, 0), allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    return printable(text)


def text_of(value: Any) -> str:
    """Return ``str(value)`` in printable form; of what refuses, the name of its type."""
    try:
        return printable(str(value))
    except Exception:  # noqa: BLE001  a user's __str__ may raise anything
        return f"<{type(value).__name__}>"


def printable(text: str) -> str:
    """Return the text with what UTF-8 cannot encode (lone surrogates) replaced by '?'."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _plain(value: Any, depth: int) -> Any:
    """Return the value as JSON has it. Each part is guarded: one takes no other with it."""
    try:
        return _converted(value, depth)
    except Exception:  # noqa: BLE001  a user's object may raise anything
        return text_of(value)


def _converted(value: Any, depth: int) -> Any:
    if value is None or isinstance(value, bool) or type(value) is str:
        return value
    if isinstance(value, Enum):
        return _plain(value.value, depth + 1)
    if isinstance(value, float):
        return _plain_float(float(value))
    if isinstance(value, int):
        # beyond 64 bits JSON readers differ; as text the number stays exact
        return int(value) if -(2**63) <= value < 2**63 else str(int(value))
    if isinstance(value, str):
        return str(value)
    if isinstance(value, date):  # and datetime
        return value.isoformat()
    return text_of(value) if depth >= _MAX_DEPTH else _plain_container(value, depth + 1)


def _plain_container(value: Any, depth: int) -> Any:
    if isinstance(value, Mapping):
        return {_key(k): _plain(v, depth) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item, depth) for item in value]
    if isinstance(value, np.generic):
        return _plain(value.item(), depth)
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value), depth)
    tolist = getattr(value, "tolist", None)  # numpy arrays, torch tensors
    return _plain(tolist(), depth) if callable(tolist) else text_of(value)


def _plain_float(value: float) -> float | str | None:
    if math.isnan(value):
        return None
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value


def _key(key: Any) -> str:
    plain = _plain(key, _MAX_DEPTH)
    return plain if isinstance(plain, str) else text_of(plain)
