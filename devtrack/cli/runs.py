"""``devtrack runs``: the runs of a store."""

from __future__ import annotations

from devtrack.cli import _options as options
from devtrack.cli._output import not_found, print_table, require_one_format


def runs(
    store: options.StoreFolder = "runs",
    as_json: options.Json = False,
    as_csv: options.Csv = False,
) -> None:
    """List the runs of a store, oldest first."""
    require_one_format(as_json=as_json, as_csv=as_csv)
    from devtrack.store import open_store
    from devtrack.store.readers import RUNS_QUERY, read_table

    columns, rows = read_table(open_store(store), RUNS_QUERY)
    if not print_table(columns, rows, as_json=as_json, as_csv=as_csv):
        raise not_found(
            f"no runs in the store {store!r}. A run appears with its first observation. "
            "Train with callbacks=[Tracker(...)], or try `devtrack demo`."
        )
