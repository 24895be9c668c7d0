import subprocess
import sys
from collections.abc import Callable

import pytest

from devtrack.errors import ConfigError
from devtrack.records import ChainTrace, Event, Row, RunInfo, SnapshotRecord, TrainingProgress
from devtrack.store import Store

Info = Callable[..., RunInfo]

_CLAIM = """
import sys
from pathlib import Path
from devtrack.store._attempts import claim_attempt
print(*[claim_attempt(Path(sys.argv[1]), keep_through_step=None) for _ in range(20)])
"""


def test_processes_that_claim_at_once_get_different_numbers(store: Store) -> None:
    command = [sys.executable, "-c", _CLAIM, str(store.path / "r1")]
    racers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    claimed = [int(word) for racer in racers for word in racer.communicate()[0].split()]
    assert sorted(claimed) == list(range(60))


def _write(store: Store, info: RunInfo, steps: range, keep: int | None) -> None:
    import numpy as np

    with store.writer(info, keep_through_step=keep) as writer:
        for step in steps:
            trace = ChainTrace("llc", np.zeros((1, 2)), np.zeros((1, 2)))
            writer.append(
                TrainingProgress(step),
                [
                    Row("loss", 100.0 * writer.attempt + step),
                    Row("llc", 1.0),
                    Row("probe/p/accuracy", 0.5),
                    trace,
                    Event("tick"),
                    SnapshotRecord("ab", f"snapshots/{writer.attempt}-{step}", 1),
                ],
            )


def test_a_resume_is_a_rewind(store: Store, info: Info) -> None:
    # 0: steps 0..15; 1 resumes from 10 and runs to 12; 2 resumes from 5, before what 1 kept
    _write(store, info(), range(16), None)
    _write(store, info(), range(11, 13), 10)
    rows = "SELECT step, value FROM metrics WHERE metric = 'loss' ORDER BY step"
    assert store.sql(rows).fetchall() == [
        *((step, float(step)) for step in range(11)),
        *((step, 100.0 + step) for step in (11, 12)),
    ]
    _write(store, info(), range(6, 9), 5)
    expected = [*((s, float(s)) for s in range(6)), *((s, 200.0 + s) for s in range(6, 9))]
    assert store.sql(rows).fetchall() == expected
    count = "SELECT count(DISTINCT step), max(step) FROM {}"
    for view in ("metrics", "llc", "probes", "chains", "events", "snapshots", "metrics_latest"):
        steps, last = store.sql(count.format(view)).fetchall()[0]
        assert (steps, last) == ((1, 8) if view == "metrics_latest" else (9, 8)), view
    all_rows = "SELECT count(*), count(*) FILTER (rewound) FROM metrics_all WHERE metric = 'loss'"
    assert store.sql(all_rows).fetchall() == [(16 + 2 + 3, 10 + 2)]
    assert store.sql("SELECT attempts, last_step FROM runs").fetchall() == [(3, 8)]


def test_a_second_attempt_without_a_rewind_keeps_everything(store: Store, info: Info) -> None:
    _write(store, info(), range(3), None)
    _write(store, info(), range(3, 5), None)
    count = "SELECT count(*) FROM metrics WHERE metric = 'loss'"
    assert store.sql(count).fetchall() == [(5,)]


def test_other_ranks_join_the_attempt(store: Store, info: Info) -> None:
    with store.writer(info()) as zero:
        for _ in range(2):  # the second writer of a rank goes on where the first ended
            with store.writer(info(), rank=1, attempt=zero.attempt) as one:
                one.append(TrainingProgress(1), [Row("loss", 1.0)])
        zero.append(TrainingProgress(1), [Row("loss", 0.0)])
    rows = "SELECT attempt, rank, seq FROM metrics ORDER BY ALL"
    assert store.sql(rows).fetchall() == [(0, 0, 0), (0, 1, 0), (0, 1, 1)]
    with pytest.raises(ConfigError, match=r"attempt=7: .*claimed so far: \[0\]"):
        store.writer(info(), rank=1, attempt=7)
    with pytest.raises(ConfigError, match="attempt=None"):
        store.writer(info(), rank=1)
