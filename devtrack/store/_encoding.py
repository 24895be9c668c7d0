"""Records as the metrics hand them over -> columns as the segments hold them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from devtrack.errors import ConfigError
from devtrack.records import (
    ChainTrace,
    Event,
    Record,
    Row,
    SnapshotRecord,
    Status,
    TrainingProgress,
)
from devtrack.store._json_text import text_of, to_json

Columns = dict[str, npt.NDArray[Any]]

_TABLE_OF: Mapping[type, str] = {
    Row: "metrics",
    ChainTrace: "chains",
    Event: "events",
    SnapshotRecord: "snapshots",
}


class Stamped(NamedTuple):
    """A record with its place in the writer's sequence and in training."""

    seq: int
    clock: TrainingProgress
    record: Record


class Author(NamedTuple):
    """Who writes: one process of one attempt of one run."""

    run_id: str
    attempt: int
    rank: int


def table_of(record: object) -> str:
    """Return the table that a record belongs to.

    Raises:
        ConfigError: It is no record.
    """
    for kind in type(record).__mro__:
        if kind in _TABLE_OF:
            return _TABLE_OF[kind]
    raise ConfigError(
        f"append: got a {type(record).__name__}; the store takes Row, ChainTrace, Event and "
        "SnapshotRecord. Wrap the number: Row('name', value)."
    )


def num_records(record: Record) -> int:
    """Return how many rows the record becomes."""
    if not isinstance(record, ChainTrace):
        return 1
    try:
        return max(1, math.prod(np.shape(record.loss)))
    except Exception:  # noqa: BLE001  a malformed trace is one line of NULLs
        return 1


def to_columns(table: str, stamped: Sequence[Stamped], author: Author) -> Columns:
    """Return the columns of ``schema.sql`` for records of one table, one array each.

    A record with a field that cannot be converted keeps its row: the number becomes NULL, its
    status failed, and attrs says why. Nothing raises.

    Shapes:
        each array: (row,)
    """
    if table == "chains":
        return _chain_columns(stamped, author)
    columns = _shared_columns(stamped, author)
    lines = [_LINE_OF[table](item.record) for item in stamped]
    for name in lines[0]:
        values = [line[name] for line in lines]
        columns[name] = np.array(values, dtype=_DTYPES.get(name, object))
    return columns


_MAX_INT = np.iinfo(np.int64).max
_DTYPES: Mapping[str, type] = {"value": np.float64, "se": np.float64, "snapshot_bytes": np.int64}


def _shared_columns(stamped: Sequence[Stamped], author: Author) -> Columns:
    count = len(stamped)
    clocks = [item.clock for item in stamped]
    return {
        "run_id": _repeated(author.run_id, count),
        "attempt": np.full(count, author.attempt, np.int32),
        "rank": np.full(count, author.rank, np.int32),
        "seq": np.array([item.seq for item in stamped], np.int64),
        "step": np.array([_int(clock.step) for clock in clocks], np.int64),
        "epoch": np.array([_int(clock.epoch) for clock in clocks], np.int64),
        "samples_seen": np.array([_int(clock.samples_seen) for clock in clocks], np.int64),
        "ts_utc": np.array([_naive_utc(clock.ts_utc) for clock in clocks], "datetime64[us]"),
    }


def _chain_columns(stamped: Sequence[Stamped], author: Author) -> Columns:
    parts = [_trace(item.record) for item in stamped]
    counts = [len(part["loss"]) for part in parts]
    shared = _shared_columns(stamped, author)
    columns: Columns = {name: np.repeat(values, counts) for name, values in shared.items()}
    for name in ("metric", "site", "chain", "draw", "loss", "baseline"):
        columns[name] = np.concatenate([part[name] for part in parts])
    return columns


def _trace(record: Any) -> Columns:
    """Return one trace in long form; a malformed one as a single line of NULLs."""
    try:
        loss = np.atleast_2d(np.asarray(record.loss, np.float64))  # (chain, draw)
        baseline = np.broadcast_to(np.asarray(record.baseline, np.float64), loss.shape)
        num_chains, num_draws = loss.shape
        draw = np.arange(num_draws, dtype=np.int32) - np.int32(record.num_burnin_steps)
    except Exception:  # noqa: BLE001  a user's object may raise anything
        loss = baseline = np.full((1, 1), np.nan)
        num_chains, draw = 1, np.zeros(1, np.int32)
    return {
        "metric": _repeated(text_of(record.metric), loss.size),
        "site": _repeated(text_of(record.site), loss.size),
        "chain": np.repeat(np.arange(num_chains, dtype=np.int32), len(draw)),
        "draw": np.tile(draw, num_chains),
        "loss": loss.ravel(),
        "baseline": baseline.ravel(),
    }


def _metric_line(record: Any) -> dict[str, Any]:
    attrs, status = record.attrs, text_of(record.status)
    try:
        value, se = float(record.value), float("nan" if record.se is None else record.se)
    except Exception as error:  # noqa: BLE001  a user's object may raise anything
        value = se = float("nan")
        status = Status.FAILED.value
        given = f"value={text_of(record.value)}, se={text_of(record.se)}"
        attrs = {"attrs": attrs, "error": f"{given}: {text_of(error)}"}
    if status == Status.FAILED.value:
        value = se = float("nan")
    return {
        "metric": text_of(record.metric),
        "site": text_of(record.site),
        "value": value,
        "se": se,
        "status": status,
        "attrs": to_json(attrs),
    }


def _event_line(record: Any) -> dict[str, Any]:
    return {
        "kind": text_of(record.kind),
        "message": text_of(record.message),
        "attrs": to_json(record.attrs),
    }


def _snapshot_line(record: Any) -> dict[str, Any]:
    return {
        "content_hash": text_of(record.content_hash),
        "path": text_of(record.path),
        "snapshot_bytes": _int(record.snapshot_bytes),
    }


_LINE_OF = {"metrics": _metric_line, "events": _event_line, "snapshots": _snapshot_line}


def _int(value: Any) -> int:
    """Return a step, epoch or size: none is negative, so -1 shows, and keeps its row."""
    try:
        number = int(value)
    except Exception:  # noqa: BLE001  a user's object may raise anything
        return -1
    return number if abs(number) <= _MAX_INT else -1


def _naive_utc(time: Any) -> np.datetime64:
    try:
        if isinstance(time, datetime) and time.tzinfo is not None:
            time = time.astimezone(UTC).replace(tzinfo=None)
        return np.datetime64(time, "us")
    except Exception:  # noqa: BLE001  what is no time is NULL
        return np.datetime64("NaT", "us")


def _repeated(text: str, count: int) -> npt.NDArray[Any]:
    return np.full(count, text, dtype=object)
