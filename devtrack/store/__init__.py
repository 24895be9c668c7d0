"""The store: append-only Parquet segments, read through DuckDB."""

from devtrack.store._confinement import QueryLimits
from devtrack.store._flusher import FlushPolicy
from devtrack.store._layout import StoreWarning
from devtrack.store.estimate_readers import read_chains, read_snapshots
from devtrack.store.quality import StatusCount, read_flagged, read_status_counts
from devtrack.store.readers import (
    read_config_events,
    read_events,
    read_rows,
    read_series,
    read_steps,
    read_transitions,
)
from devtrack.store.store import Store, open_store
from devtrack.store.writer import Writer

__all__ = [
    "FlushPolicy",
    "QueryLimits",
    "StatusCount",
    "Store",
    "StoreWarning",
    "Writer",
    "open_store",
    "read_chains",
    "read_config_events",
    "read_events",
    "read_flagged",
    "read_rows",
    "read_series",
    "read_snapshots",
    "read_status_counts",
    "read_steps",
    "read_transitions",
]
