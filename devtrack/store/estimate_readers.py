"""Read what lies behind the estimates of a run: its chains and its snapshots."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from devtrack.records import TrainingProgress
from devtrack.store.store import Store


def read_chains(
    store: Store, run_id: str, *, step: int, metric: str, site: str
) -> npt.NDArray[np.float64]:
    """Return chain, draw and loss − baseline of one estimate, (draw of all chains, 3)."""
    rows = store.sql(
        "SELECT chain, draw, loss - baseline FROM chains "
        "WHERE run_id = ? AND step = ? AND metric = ? AND site = ? ORDER BY chain, draw",
        [run_id, step, metric, site],
    ).fetchall()
    return np.array(rows, np.float64).reshape(-1, 3)


def read_chain_steps(store: Store, run_id: str, *, metric: str, site: str) -> list[int]:
    """Return the steps at which chains of a metric were stored, ascending."""
    rows = store.sql(
        "SELECT DISTINCT step FROM chains WHERE run_id = ? AND metric = ? AND site = ? "
        "ORDER BY step",
        [run_id, metric, site],
    ).fetchall()
    return [step for (step,) in rows]


def read_snapshots(store: Store, run_id: str) -> list[tuple[TrainingProgress, str]]:
    """Return the snapshots of a run with their files, relative to the run's folder, by step."""
    return _snapshots(store, "WHERE run_id = $run", {"run": run_id})


def read_unmeasured_snapshots(
    store: Store, run_id: str, *, through_step: int
) -> list[tuple[TrainingProgress, str]]:
    """Return the snapshots of a run that no metric was computed on, with their files, by step.

    An attempt that was killed before its evaluation set was complete leaves such behind.
    """
    where = (
        "AS s WHERE run_id = $run AND step <= $last AND NOT EXISTS "
        "(FROM metrics AS m WHERE m.run_id = s.run_id AND m.step = s.step)"
    )
    return _snapshots(store, where, {"run": run_id, "last": through_step})


def _snapshots(
    store: Store, where: str, parameters: dict[str, Any]
) -> list[tuple[TrainingProgress, str]]:
    query = f"SELECT step, epoch, samples_seen, path FROM snapshots {where} ORDER BY step"
    rows = store.sql(query, parameters).fetchall()
    return [(TrainingProgress(*progress), path) for *progress, path in rows]
