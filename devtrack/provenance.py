"""What identifies a run and what it was made with."""

from __future__ import annotations

import dataclasses
import platform
import re
import secrets
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

_PACKAGES = ("devtrack", "torch", "lightning", "devinterp", "duckdb", "numpy")


def utc_now() -> datetime:
    """Return the wall time, naive UTC, as the store keeps it."""
    return datetime.now(UTC).replace(tzinfo=None)


def new_run_id(name: str, created_utc: datetime) -> str:
    """Return a folder name that sorts by time within a name and is unique in practice.

    Example:
        >>> new_run_id("my run/1", datetime(2026, 11, 21, 9, 30, 12))[:-4]
        'my-run-1-20261121-093012-'
    """
    safe = re.sub(r"[^\w.-]+", "-", name).strip("-.") or "run"
    return f"{safe}-{created_utc:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that numbers depend on."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def describe(configuration: object) -> Any:
    """Return what a configuration says of itself, as JSON can hold it.

    Dataclasses become mappings with their class under ``"class"``; data and functions are named,
    not copied.

    Example:
        >>> from devtrack.schedules import every
        >>> describe(every(10))
        {'class': 'Every', 'n': 10}
    """
    if configuration is None or isinstance(configuration, bool | int | float | str):
        return configuration
    if isinstance(configuration, tuple | list):
        if all(isinstance(item, bool | int | float | str) for item in configuration):
            return list(configuration)
        if all(dataclasses.is_dataclass(item) for item in configuration):
            return [describe(item) for item in configuration]
    if dataclasses.is_dataclass(configuration):
        fields = dataclasses.fields(configuration)
        own = {field.name: describe(getattr(configuration, field.name)) for field in fields}
        return {"class": type(configuration).__name__, **own}
    return getattr(configuration, "__qualname__", type(configuration).__qualname__)
