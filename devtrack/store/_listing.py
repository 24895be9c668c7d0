"""Which segments hold a table's rows at this moment."""

from __future__ import annotations

from pathlib import Path

from devtrack.store._layout import (
    SCHEMA_DIR,
    SegmentName,
    parse_segment_name,
    segment_dir,
    uncovered,
)


def list_segments(folder: Path) -> set[SegmentName]:
    """Return the segments of a table's folder; none if there is no folder."""
    try:
        names = [path.name for path in folder.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return set()
    return {name for name in map(parse_segment_name, names) if name is not None}


def current_files(store: Path, table: str) -> list[Path]:
    """Return the files whose rows are a table's, each row once.

    While a store is compacted, some rows exist twice. The files to leave out are decided on the
    listing that names the rest, since two listings would race. A file of it may be gone
    when it is opened: list again.

    Args:
        store: The store's folder.
        table: One of ``WRITER_TABLES``.
    """
    twins = segment_dir(store / SCHEMA_DIR, table).glob("*.parquet")  # no rows, every column
    found = [*twins]
    for run_dir in store.iterdir():
        folder = segment_dir(run_dir, table)
        found += [folder / str(name) for name in uncovered(list(list_segments(folder)))]
    return found
