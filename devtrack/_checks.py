"""Checks of arguments: each raises one ConfigError with what was given, allowed, and next."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any

from devtrack.errors import ConfigError


def require_int(name: str, value: Any, *, at_least: int, example: int | None = None) -> None:
    """Raise ConfigError unless ``value`` is an integer of at least ``at_least``.

    Args:
        name: Of the argument.
        value: What was given.
        at_least: The smallest integer allowed.
        example: What the message proposes; ``at_least`` if None.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < at_least:
        example = at_least if example is None else example
        raise ConfigError(
            f"{name}={value!r}: must be an integer of at least {at_least}. Use {name}={example}."
        )


def require_number(
    name: str, value: Any, holds: Callable[[float], bool], allowed: str, example: str
) -> None:
    """Raise ConfigError unless ``value`` is a finite number for which ``holds`` is true.

    Args:
        name: Of the argument.
        value: What was given.
        holds: Says whether a finite number is allowed.
        allowed: The same in words, e.g. ``"above 0"``.
        example: What the message proposes, e.g. ``"lr=1e-4"``.

    Example:
        >>> require_number("lr", -1.0, lambda lr: lr > 0, "above 0", "lr=1e-4")
        Traceback (most recent call last):
        devtrack.errors.ConfigError: lr=-1.0: must be a finite number above 0. Use lr=1e-4.
    """
    is_number = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    if not (is_number and holds(float(value))):
        raise ConfigError(f"{name}={value!r}: must be a finite number {allowed}. Use {example}.")


def require_positive(name: str, value: Any, *, example: float = 1.0) -> None:
    """Raise ConfigError unless ``value`` is a finite number above 0."""
    require_number(name, value, lambda number: number > 0, "above 0", f"{name}={example:g}")


def require_fraction(name: str, value: Any, *, example: float = 0.5) -> None:
    """Raise ConfigError unless ``value`` is a number between 0 and 1, both included."""
    require_number(
        name, value, lambda number: 0 <= number <= 1, "from 0 to 1", f"{name}={example:g}"
    )


def require_choice(name: str, value: Any, choices: Sequence[Any]) -> None:
    """Raise ConfigError unless ``value`` is one of ``choices``; names the nearest one.

    Example:
        >>> require_choice("kind", "heads", ["head", "module"])
        Traceback (most recent call last):
        devtrack.errors.ConfigError: kind='heads': must be one of 'head', 'module'. Use kind='head'.
    """
    if isinstance(value, str | int | float | None) and value in choices:
        return
    texts = [choice for choice in choices if isinstance(choice, str)]
    near = difflib.get_close_matches(str(value), texts, n=1, cutoff=0.5) or choices[:1]
    listed = ", ".join(map(repr, choices))
    raise ConfigError(f"{name}={value!r}: must be one of {listed}. Use {name}={near[0]!r}.")


def require_bool(name: str, value: Any) -> None:
    """Raise ConfigError unless ``value`` is True or False."""
    if not isinstance(value, bool):
        raise ConfigError(f"{name}={value!r}: must be True or False. Use {name}=True.")


def require_text(name: str, value: Any, *, example: str) -> None:
    """Raise ConfigError unless ``value`` is a text with a visible character."""
    if not (isinstance(value, str) and value.strip()):
        raise ConfigError(f"{name}={value!r}: must be a text, not empty. Use {name}={example!r}.")


def require_function(name: str, value: Any, *, example: str) -> None:
    """Raise ConfigError unless ``value`` can be called and is no class."""
    if isinstance(value, type) or not callable(value):
        raise ConfigError(f"{name}={value!r}: must be a function. Use {name}={example}.")


def require_globs(name: str, value: Any, *, example: str = "blocks.*.attn") -> None:
    """Raise ConfigError unless ``value`` is a glob or a sequence of globs, none of them empty."""
    globs = [value] if isinstance(value, str) else value
    is_sequence = isinstance(globs, Sequence) and not isinstance(globs, bytes) and len(globs) > 0
    if not is_sequence or not all(isinstance(glob, str) and glob.strip() for glob in globs):
        raise ConfigError(
            f"{name}={value!r}: must be a glob, or a list of globs. Use {name}={example!r}."
        )
