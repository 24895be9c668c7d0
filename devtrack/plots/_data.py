"""What the plots draw of a run, read from its store once.

The drawing functions know these types only, so that they can be tried on plain arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from devtrack.errors import ConfigError
from devtrack.records import Status
from devtrack.series import ConfigEvent, Series, Transition

if TYPE_CHECKING:
    from devtrack.store import Store

_BOOKKEEPING = ("cost", "snapshot_failed")


def read_curves(
    store: Store,
    run_id: str,
    *,
    metrics: Sequence[str] | None = None,
    sites: Sequence[str] | None = None,
) -> list[Series]:
    """Read the series of a run with values of every status, ordered by metric and site.

    Args:
        store: The store to read.
        run_id: The run.
        metrics: Names or globs (``"probe/*"``); all if None.
        sites: Names or globs; all if None.

    Raises:
        ConfigError: The run has no metrics, or a glob matches none of them.
    """
    from devtrack.store.readers import read_series

    series = read_series(
        store, run_id, metrics=metrics, sites=sites, statuses=tuple(Status), all_must_match=True
    )
    if not series:
        raise ConfigError(
            f"run {run_id!r}: has no metrics yet. A run has metrics after its first observation. "
            "Wait for it, or pick a run that `devtrack runs` lists with observations."
        )
    return series


def read_marks(store: Store, run_id: str) -> list[ConfigEvent]:
    """Read the events of a run that are drawn: all but devtrack's own book-keeping."""
    from devtrack.store.readers import read_events

    events = read_events(store, run_id, without=_BOOKKEEPING)
    return sorted({ConfigEvent(float(step), event.kind) for step, event in events})


def moved_spans(transition: Transition) -> dict[tuple[str, str], tuple[float, float]]:
    """Return the onset and end of each series that took part, by (metric, site)."""
    return {(move.metric, move.site): (move.onset, move.end) for move in transition.moves}
