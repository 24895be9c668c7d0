"""A store in a temporary folder, and short words for what goes into it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from devtrack.records import RunInfo
from devtrack.store import Store, open_store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "runs", create=True)


@pytest.fixture
def info() -> Callable[..., RunInfo]:
    def make(run_id: str = "r1", name: str | None = None, day: int = 1) -> RunInfo:
        return RunInfo(run_id, name or run_id, datetime(2026, 1, day))

    return make
