"""Checks of a configuration: each value is of the kind of its default."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

from devtrack._checks import require_int, require_number
from devtrack.errors import ConfigError


class CheckedConfig:
    """A configuration that refuses values which are not of the kind of its defaults."""

    def __post_init__(self) -> None:
        for one in fields(self):  # pyright: ignore[reportArgumentType] - a dataclass below
            default = one.default if one.default is not MISSING else one.default_factory()  # pyright: ignore
            _require_like(one.name, getattr(self, one.name), default)


def _require_like(name: str, value: Any, default: Any) -> None:
    if is_dataclass(default):
        require_config(name, value, type(default))
    elif isinstance(default, tuple):
        is_like = isinstance(value, Sequence) and not isinstance(value, str) and len(value) > 0
        if not is_like:
            raise ConfigError(
                f"{name}={value!r}: must be a tuple of numbers, not empty. Use {name}={default}."
            )
        for number in value:
            _require_like(name, number, default[0])
    elif isinstance(default, int):
        require_int(name, value, at_least=0, example=default)
    else:
        require_number(name, value, lambda _: True, "", f"{name}={default}")


def require_config(name: str, value: Any, kind: type) -> None:
    """Raise ConfigError unless ``value`` is a configuration of this class."""
    if not isinstance(value, kind):
        raise ConfigError(
            f"{name}={value!r}: must be an instance of {kind.__name__}. "
            f"Use {name}={kind.__name__}()."
        )
