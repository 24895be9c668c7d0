"""What identifies a run and what it was made with."""

from __future__ import annotations

import dataclasses
import platform
import re
import secrets
import unicodedata
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

_PACKAGES = ("devtrack", "torch", "lightning", "devinterp", "duckdb", "numpy")
_MAX_NAME = 80  # a spill folder and a path on Windows have room for the rest


def utc_now() -> datetime:
    """Return the wall time, naive UTC, as the store keeps it."""
    return datetime.now(UTC).replace(tzinfo=None)


def new_run_id(name: str, created_utc: datetime) -> str:
    """Return a folder name that sorts by time within a name and is unique in practice.

    The id keeps of the name what every file system accepts. Letters lose their accents, and other
    characters become a dash. ``run.json`` keeps the name as it was given.

    Example:
        >>> new_run_id("_my Übung/1", datetime(2026, 11, 21, 9, 30, 12))[:-8]
        'my-Ubung-1-20261121-093012-'
    """
    letters = unicodedata.normalize("NFKD", name)
    plain = "".join(letter for letter in letters if not unicodedata.combining(letter))
    safe = re.sub(r"[^\w.-]+", "-", plain, flags=re.ASCII)[:_MAX_NAME].strip("-._") or "run"
    return f"{safe}-{created_utc:%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"


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
