"""Detected transitions in the store: one file per analysis, the newest is shown."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from devtrack.errors import ConfigError
from devtrack.store._atomic_files import remove_quietly
from devtrack.store._json_text import printable, to_json
from devtrack.store._layout import segment_dir
from devtrack.store._provenance import utc_now
from devtrack.store._schema import columns_of, detector
from devtrack.store._segments import write_segment, writer_connection

_KEPT = 2  # the shown one and the one before, which a reader may just be opening
_GIVEN_BY_STORE = ("run_id", "analysis_id", "computed_utc", "through_step", "settings", "detector")


class Seen(NamedTuple):
    """What an analysis looked at, and how.

    Args:
        through_step: Largest step among its rows; None if there were none.
        as_of: When it read them, naive UTC: later rows make it stale.
        settings: What it was asked for.
    """

    through_step: int | None
    as_of: datetime
    settings: Mapping[str, Any] | None


def write_analysis(run_dir: Path, rows: Sequence[Mapping[str, Any]], seen: Seen) -> str:
    """Commit an analysis and return its id.

    Args:
        run_dir: The run's folder.
        rows: Columns of table ``transitions`` by name; what is missing or NaN is NULL.
        seen: What the analysis looked at.

    Raises:
        ConfigError: A row has an unknown column, or no ``transition``.
        OSError: The store cannot be written.
    """
    kinds = dict(columns_of("transitions"))
    own = [name for name in kinds if name not in _GIVEN_BY_STORE]
    for row in rows:
        unknown = sorted(set(row) - set(kinds))
        if unknown or row.get("transition") is None:
            raise ConfigError(
                f"transition row {dict(row)!r}: "
                + (f"unknown columns {unknown}; " if unknown else "transition is missing; ")
                + f"allowed are {', '.join(own)}. Number transitions from 0, rename the rest."
            )
    analysis_id = f"{utc_now():%Y%m%dT%H%M%S%f}-{secrets.token_hex(3)}"
    lines: list[Mapping[str, Any]] = [{}, *rows]  # the first says that the analysis was made
    columns = {
        "run_id": np.full(len(lines), run_dir.name, dtype=object),
        "analysis_id": np.full(len(lines), analysis_id, dtype=object),
        "computed_utc": np.full(len(lines), seen.as_of, dtype="datetime64[us]"),
        "through_step": np.full(len(lines), seen.through_step, dtype=object),
        "settings": np.full(len(lines), to_json(seen.settings), dtype=object),
        "detector": np.full(len(lines), detector(), dtype=object),
    }
    for name in own:
        values = [_plain(line.get(name), kinds[name]) for line in lines]
        dtype = np.float64 if kinds[name] == "DOUBLE" else object
        columns[name] = np.array(values, dtype=dtype)
    folder = segment_dir(run_dir, "transitions")
    with writer_connection() as connection:
        path = folder / f"{analysis_id}.parquet"
        write_segment(connection, table="transitions", columns=columns, path=path)
    for old in sorted(folder.glob("*.parquet"))[:-_KEPT]:
        remove_quietly(old)
    return analysis_id


def _plain(value: Any, kind: str) -> Any:
    if kind == "DOUBLE":
        return np.nan if value is None else float(value)
    if value is None:
        return None
    return printable(str(value)) if kind == "VARCHAR" else int(value)
