import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from devtrack.errors import ConfigError, StoreError
from devtrack.records import (
    ChainTrace,
    Event,
    Row,
    RunInfo,
    SnapshotRecord,
    Status,
    TrainingProgress,
)
from devtrack.store import FlushPolicy, Store, open_store

Info = Callable[..., RunInfo]

_text = st.text(st.characters(codec="utf-8"), max_size=8)
_count = st.integers(0, 2**62)
_clock = st.builds(
    TrainingProgress,
    _count,
    _count,
    _count,
    st.datetimes(datetime(1990, 1, 1), datetime(2200, 1, 1)),
)
_attrs = st.dictionaries(_text, st.integers(-(2**53), 2**53) | _text | st.none(), max_size=2)
_row = st.builds(Row, _text, st.floats(), st.floats(), _text, st.sampled_from(Status), _attrs)
_appends = st.lists(st.tuples(_clock, st.lists(_row, max_size=4), st.booleans()), max_size=5)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return open_store(tmp_path_factory.mktemp("shared") / "runs", create=True)


@settings(max_examples=25, deadline=None)
@given(_appends)
def test_rows_come_back_as_they_went_in(
    shared: Store, appends: list[tuple[TrainingProgress, list[Row], bool]]
) -> None:
    run_id = f"r{len(list(shared.path.iterdir()))}"
    policy = FlushPolicy(grace_s=0.0)
    with shared.writer(RunInfo(run_id, "n", datetime(2026, 1, 1)), policy=policy) as writer:
        for clock, rows, flush in appends:
            writer.append(clock, rows)
            if flush:
                writer.flush()
    found = shared.sql(
        """SELECT seq, step, epoch, samples_seen, ts_utc, metric, site, value, se, status, attrs
           FROM metrics WHERE run_id = ? ORDER BY seq""",
        [run_id],
    ).fetchall()
    flat = [(clock, row) for clock, rows, _ in appends for row in rows]
    assert found == [
        (seq, c.step, c.epoch, c.samples_seen, c.ts_utc, *_expected(row))
        for seq, (c, row) in enumerate(flat)
    ]


def _expected(row: Row) -> tuple[Any, ...]:
    from devtrack.store._json_text import to_json

    failed = row.status == "failed"

    def number(value: float) -> float | None:
        return None if failed or np.isnan(value) else value

    return (
        row.metric,
        row.site,
        number(row.value),
        number(row.se),
        str(row.status),
        to_json(row.attrs),
    )


def test_traces_events_and_snapshots_come_back(store: Store, info: Info) -> None:
    rng = np.random.default_rng(0)
    loss, baseline = rng.normal(size=(2, 3, 4))  # each (chain, burn-in + draw)
    loss[1, 2] = np.nan
    with store.writer(info(name="grok")) as writer:
        writer.append(
            TrainingProgress(7),
            [
                ChainTrace("llc", loss, baseline, 1, "blocks.0"),
                Event("lr_change", "lr 0.1 -> 0.01", {"lr": np.float32(0.5)}),
                SnapshotRecord("ab" * 32, "snapshots/ab.safetensors", 12),
            ],
        )
    chains = store.sql("FROM chains ORDER BY chain, draw").fetchall()
    assert chains[0] == ("grok", "r1", 0, 7, "llc", "blocks.0", 0, -1, loss[0, 0], baseline[0, 0])
    assert [row[6:8] for row in chains] == [(c, d) for c in range(3) for d in range(-1, 3)]
    expected = [None if np.isnan(number) else number for number in loss.ravel()]
    assert [row[8] for row in chains] == expected
    events = store.sql("SELECT run, step, kind, message, attrs FROM events").fetchall()
    assert events == [("grok", 7, "lr_change", "lr 0.1 -> 0.01", '{"lr":0.5}')]
    snapshots = "SELECT step, content_hash, path, snapshot_bytes FROM snapshots"
    assert store.sql(snapshots).fetchall() == [(7, "ab" * 32, "snapshots/ab.safetensors", 12)]


class _Odd:
    def __float__(self) -> float:
        raise TypeError("not a number")


class _Refusing:
    """Refuses whatever it is asked for, with an error of its own."""

    def _refuse(self) -> Any:
        raise RuntimeError("refused")

    def __str__(self) -> str:
        return self._refuse()

    __repr__ = __str__

    def __float__(self) -> float:
        return self._refuse()

    def __int__(self) -> int:
        return self._refuse()


_R: Any = _Refusing()


_BAD: dict[str, Any] = {
    "huge": Row("a", 10**400),
    "unspeakably huge": Row("a", 10**5000),
    "two numbers": Row("a", torch.ones(2)),  # type: ignore[arg-type]
    "row": Row(_R, _R, _R, _R, _R, _R),
    "event": Event(_R, _R, _R),
    "snapshot": SnapshotRecord(_R, _R, _R),
    "huge snapshot": SnapshotRecord("ab", "ab", 10**30),
    "trace": ChainTrace(_R, _R, _R, _R, _R),
    "trace of tensors": ChainTrace("a", torch.ones(2, 3), torch.ones(3)),  # type: ignore[arg-type]
    "cube": ChainTrace("a", np.ones((2, 3, 2)), np.zeros(1)),
    "two burn-ins": ChainTrace("a", np.ones((2, 1)), np.zeros(1), np.array([1, 2])),  # type: ignore[arg-type]
    "unspeakable attrs": Event("a", attrs=10**5000),  # type: ignore[arg-type]
    "endless burn-in": ChainTrace("a", np.ones((2, 3)), np.zeros(1), 10**20),
}


@pytest.mark.parametrize("name", _BAD)
def test_one_bad_record_takes_no_other_with_it(store: Store, info: Info, name: str) -> None:
    clocks: list[Any] = [
        TrainingProgress(1),
        TrainingProgress(10**30, _R, _R, _R),
        TrainingProgress(2, ts_utc="noon"),
    ]  # type: ignore
    with store.writer(info()) as writer:
        for clock in clocks:
            writer.append(clock, [Row("before", 1.0), _BAD[name], Row("after", 1.0)])
        writer.flush(timeout_s=5.0)
    found = store.sql(
        "SELECT metric, list(step ORDER BY seq) FROM metrics WHERE metric IN ('before', 'after') "
        "GROUP BY ALL ORDER BY ALL"
    )
    assert found.fetchall() == [("after", [1, -1, 2]), ("before", [1, -1, 2])]
    views = ("metrics", "events", "snapshots", "chains")
    counts = [store.sql(f"SELECT count(*) FROM {view}").fetchall()[0][0] for view in views]
    assert sum(counts) >= 9


def test_a_row_is_never_lost_to_a_strange_value(store: Store, info: Info) -> None:
    strange: list[Any] = [
        Row("ok", np.float32(1.5), np.float64(0.5)),  # type: ignore[arg-type]
        Row("odd", _Odd()),  # type: ignore[arg-type]
        Row("no se", 1.0, None),  # type: ignore[arg-type]
        Row("inf", float("inf")),
        Row("failed", 3.0, status=Status.FAILED, attrs={"error": "x"}),
        Row("\ud800", 1.0, attrs={"x": object, 1: float("nan")}),
        ChainTrace("llc", [[1.0], [1.0, 2.0]], np.zeros(1)),  # type: ignore[arg-type]
    ]
    with store.writer(info()) as writer:
        writer.append(TrainingProgress(np.int64(3)), strange)  # type: ignore[arg-type]
    rows = store.sql("SELECT metric, value, se, status FROM metrics ORDER BY seq").fetchall()
    assert rows == [
        ("ok", 1.5, 0.5, "ok"),
        ("odd", None, None, "failed"),
        ("no se", 1.0, None, "ok"),
        ("inf", float("inf"), None, "ok"),
        ("failed", None, None, "failed"),
        ("?", 1.0, None, "ok"),
    ]
    why = store.sql("SELECT attrs->>'error' FROM metrics WHERE metric = 'odd'").fetchall()[0][0]
    assert "not a number" in why
    assert store.sql("SELECT count(*), count(loss) FROM chains").fetchall() == [(1, 0)]


def test_what_is_no_record_is_refused_at_the_door(store: Store, info: Info) -> None:
    writer = store.writer(info())
    with pytest.raises(ConfigError, match=r"got a float.*Row\('name', value\)"):
        writer.append(TrainingProgress(0), [Row("a", 1.0), 1.0])  # type: ignore[list-item]
    writer.close()
    assert store.sql("SELECT count(*) FROM metrics").fetchall() == [(0,)]
    with pytest.raises(StoreError, match="is closed"):
        writer.append(TrainingProgress(0), [Row("a", 1.0)])
    writer.flush()
    writer.close()


def test_a_flush_is_visible_at_once_and_a_row_within_the_interval(store: Store, info: Info) -> None:
    import time

    policy = FlushPolicy(interval_s=0.05)
    with store.writer(info(), policy=policy) as writer:
        writer.append(TrainingProgress(0), [Row("a", 1.0)])
        writer.flush()
        assert store.sql("SELECT count(*) FROM metrics").fetchall() == [(1,)]
        writer.append(TrainingProgress(1), [Row("a", 1.0)])
        deadline = time.monotonic() + 10
        while store.sql("SELECT count(*) FROM metrics").fetchall() != [(2,)]:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_a_zoned_time_is_stored_as_utc(store: Store, info: Info) -> None:
    with store.writer(info()) as writer:
        writer.append(
            TrainingProgress(0, ts_utc=datetime(2026, 1, 1, 12, tzinfo=UTC)), [Row("a", 1.0)]
        )
    assert store.sql("SELECT ts_utc FROM metrics").fetchall() == [(datetime(2026, 1, 1, 12),)]


_FORGETFUL = """
import sys
from datetime import datetime
from devtrack.records import TrainingProgress, Row, RunInfo
from devtrack.store import open_store, FlushPolicy
writer = open_store(sys.argv[1]).writer(RunInfo("r1", "r1", datetime(2026, 1, 1)),
                                        policy=FlushPolicy(interval_s=60))
writer.append(TrainingProgress(0), [Row("a", 1.0)])
writer = None
raise SystemExit(3)
"""


def test_a_forgotten_writer_is_drained_when_the_interpreter_ends(store: Store) -> None:
    done = subprocess.run([sys.executable, "-c", _FORGETFUL, store.path], check=False)
    assert done.returncode == 3
    assert store.sql("SELECT count(*) FROM metrics").fetchall() == [(1,)]


def test_the_store_imports_nothing_heavy() -> None:
    code = (
        "import sys, devtrack.store;"
        "print([m for m in ('torch','pandas','sklearn','scipy','matplotlib') if m in sys.modules])"
    )
    here = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=here)
    assert done.stdout.strip() == "[]", done.stderr
