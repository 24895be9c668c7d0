"""What readers need and can be derived is written anew: the schema's files and the views file."""

from __future__ import annotations

from pathlib import Path

import duckdb

from devtrack.errors import StoreError
from devtrack.store._quarantine import quarantine_damage
from devtrack.store._views import (
    schema_files,
    views_file_is_current,
    write_schema_files,
    write_views_file,
)


def renew_files(store: Path) -> None:
    """Write what is missing or not current, as far as the store can be written.

    Raises:
        StoreError: The schema's files are missing and cannot be written.
    """
    try:
        write_schema_files(store)
        if not views_file_is_current(store):
            _renew_views_file(store)
    except (OSError, duckdb.IOException) as error:
        if not all(path.exists() for path in schema_files(store).values()):
            raise StoreError(
                f"{store}: lacks the files of this devtrack's schema and cannot be "
                f"written ({error}). Open it once where it is writable, or copy it."
            ) from error


def _renew_views_file(store: Path) -> None:
    try:
        write_views_file(store)
    except duckdb.Error:
        if not quarantine_damage(store).damaged:
            raise
        write_schema_files(store)
        write_views_file(store)
