"""What identifies a run and what it was made with."""

from __future__ import annotations

import platform
import re
import secrets
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

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
