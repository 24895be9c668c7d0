"""The store: append-only Parquet segments, read through DuckDB."""

from devtrack.store._flusher import FlushPolicy
from devtrack.store._layout import StoreWarning
from devtrack.store.store import Store, open_store
from devtrack.store.writer import Writer

__all__ = ["FlushPolicy", "Store", "StoreWarning", "Writer", "open_store"]
