"""Records as the metrics hand them over -> columns as the segments hold them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
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
from devtrack.store._schema import columns_of

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

    A record with a field that cannot be converted keeps its row. A number becomes NULL, a count -1,
    and a text the name of its type. The status of a metric becomes failed, and attrs says why.
    Nothing raises: the type of the column in ``schema.sql`` chooses the conversion.

    Shapes:
        each array: (row,)
    """
    if table == "chains":
        return _chain_columns(stamped, author)
    columns = _shared_columns(stamped, author)
    lines = [_LINE_OF[table](item.record) for item in stamped]
    types = dict(columns_of(table))
    for name in lines[0]:
        convert, dtype = _CONVERSIONS[types[name]]
        columns[name] = np.array([convert(line[name]) for line in lines], dtype)
    return columns


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
        num_chains, num_draws = loss.shape
        draw = np.arange(num_draws, dtype=np.int32) - np.int32(int(record.num_burnin_steps))
    except Exception:  # noqa: BLE001  a user's object may raise anything
        loss = np.full((1, 1), np.nan)
        num_chains, draw = 1, np.zeros(1, np.int32)
    try:
        baseline = np.broadcast_to(np.asarray(record.baseline, np.float64), loss.shape)
    except Exception:  # noqa: BLE001  the losses stay without it
        baseline = np.full(loss.shape, np.nan)
    return {
        "metric": _repeated(text_of(record.metric), loss.size),
        "site": _repeated(text_of(record.site), loss.size),
        "chain": np.repeat(np.arange(num_chains, dtype=np.int32), len(draw)),
        "draw": np.tile(draw, num_chains),
        "loss": loss.ravel(),
        "baseline": baseline.ravel(),
    }


# Values as they were given, by column. ``to_columns`` converts them.


def _metric_line(record: Any) -> dict[str, Any]:
    attrs, status = record.attrs, text_of(record.status)
    try:
        value, se = float(record.value), float("nan" if record.se is None else record.se)
    except Exception as error:  # noqa: BLE001  a user's object may raise anything
        status = Status.FAILED.value
        given = f"value={text_of(record.value)}, se={text_of(record.se)}"
        attrs = {"attrs": attrs, "error": f"{given}: {text_of(error)}"}
        value = se = None
    if status == Status.FAILED.value:
        value = se = None
    return {
        "metric": record.metric,
        "site": record.site,
        "value": value,
        "se": se,
        "status": status,
        "attrs": attrs,
    }


def _event_line(record: Any) -> dict[str, Any]:
    return {"kind": record.kind, "message": record.message, "attrs": record.attrs}


def _snapshot_line(record: Any) -> dict[str, Any]:
    return {
        "content_hash": record.content_hash,
        "path": record.path,
        "snapshot_bytes": record.snapshot_bytes,
    }


_LINE_OF = {"metrics": _metric_line, "events": _event_line, "snapshots": _snapshot_line}


def _int(value: Any, *, largest: int = np.iinfo(np.int64).max) -> int:
    """Return a step, epoch or size: none is negative, so -1 shows, and keeps its row."""
    try:
        number = int(value)
    except Exception:  # noqa: BLE001  a user's object may raise anything
        return -1
    return number if abs(number) <= largest else -1


def _float(value: Any) -> float:
    """Return a number; NaN, which is stored as NULL, for what is none."""
    try:
        return float(value)
    except Exception:  # noqa: BLE001  a user's object may raise anything
        return float("nan")


def _naive_utc(time: Any) -> np.datetime64:
    try:
        if isinstance(time, datetime) and time.tzinfo is not None:
            time = time.astimezone(UTC).replace(tzinfo=None)
        return np.datetime64(time, "us")
    except Exception:  # noqa: BLE001  what is no time is NULL
        return np.datetime64("NaT", "us")


def _repeated(text: str, count: int) -> npt.NDArray[Any]:
    return np.full(count, text, dtype=object)


_CONVERSIONS: Mapping[str, tuple[Callable[[Any], Any], Any]] = {
    "DOUBLE": (_float, np.float64),
    "BIGINT": (_int, np.int64),
    "INTEGER": (partial(_int, largest=np.iinfo(np.int32).max), np.int32),
    "TIMESTAMP": (_naive_utc, "datetime64[us]"),
    "VARCHAR": (text_of, object),
    "JSON": (to_json, object),
}
"""By the type of a column: a function that never raises, and the numpy type of its results."""
