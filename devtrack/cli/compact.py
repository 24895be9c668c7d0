"""``devtrack compact``: many small files of a run into few."""

from __future__ import annotations

from devtrack.cli import _options as options
from devtrack.cli._output import not_found, print_table


def compact(run: options.RunOrAll = None, store: options.StoreFolder = "runs") -> None:
    """Merge the many small files of a run into few.

    Changes no data, and may be done while training runs. All runs if none is named.
    """
    from devtrack.store import open_store

    done = open_store(store).compact(run)
    if not done:
        raise not_found(f"no runs in the store {store!r}. Nothing to compact.")
    print_table(
        ("run_id", "segments_before", "segments_after"),
        [(run_id, one.segments_before, one.segments_after) for run_id, one in done.items()],
    )
