"""Attempts: each process lineage that trains a run claims the next number, once only."""

from __future__ import annotations

import os
import socket
from datetime import UTC, datetime
from pathlib import Path

from devtrack.errors import ConfigError, StoreError
from devtrack.store._atomic_files import create_exclusively, make_dirs
from devtrack.store._json_text import to_json
from devtrack.store._layout import ATTEMPTS_DIR, SEGMENTS_DIR, attempt_file, parse_segment_name

_MAX_RACES = 1000


def claim_attempt(run_dir: Path, *, keep_through_step: int | None) -> int:
    """Claim the next attempt of a run; of processes that race, each gets its own number.

    Args:
        run_dir: The run's folder.
        keep_through_step: Rows of earlier attempts after this step leave the views from now on;
            None keeps them all.

    Raises:
        StoreError: No number could be claimed.
        OSError: The store cannot be written.
    """
    make_dirs(run_dir / ATTEMPTS_DIR)
    attempt = max(list_attempts(run_dir), default=-1) + 1
    for _ in range(_MAX_RACES):
        line = {
            "run_id": run_dir.name,
            "attempt": attempt,
            "keep_through_step": keep_through_step,
            "started_utc": datetime.now(UTC).replace(tzinfo=None),
            "host": socket.gethostname(),
            "pid": os.getpid(),
        }
        if create_exclusively(attempt_file(run_dir, attempt), (to_json(line) + "\n").encode()):
            return attempt
        attempt += 1
    raise StoreError(
        f"{run_dir}: {_MAX_RACES} attempts were claimed by others meanwhile; a run takes one "
        "process at a time. Give each training its own run id."
    )


def join_attempt(run_dir: Path, attempt: int | None) -> int:
    """Return the attempt that another rank has claimed.

    Args:
        run_dir: The run's folder.
        attempt: The number that rank 0 claimed and sent to this rank.

    Raises:
        ConfigError: No number was given, or nobody has claimed it.
    """
    known = list_attempts(run_dir)
    if attempt is None or attempt not in known:
        raise ConfigError(
            f"attempt={attempt!r}: a rank above 0 joins an attempt that rank 0 has claimed; "
            f"claimed so far: {sorted(known) or 'none'}. Send rank 0's writer.attempt to it."
        )
    return attempt


def list_attempts(run_dir: Path) -> list[int]:
    """Return the numbers that are claimed, in no order."""
    names = (path.stem for path in (run_dir / ATTEMPTS_DIR).glob("*.json"))
    return [int(name) for name in names if name.isdigit()]


def next_seq(run_dir: Path, *, attempt: int, rank: int) -> int:
    """Return the first sequence number that this writer has not used in any table."""
    names = (parse_segment_name(path.name) for path in (run_dir / SEGMENTS_DIR).glob("*/*.parquet"))
    mine = [name.hi for name in names if name and (name.attempt, name.rank) == (attempt, rank)]
    return max(mine, default=-1) + 1
