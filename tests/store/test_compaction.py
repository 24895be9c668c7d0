import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import pytest

from devtrack.records import ChainTrace, Row, RunInfo, TrainingProgress
from devtrack.store import FlushPolicy, Store
from devtrack.store import _compaction as compaction
from devtrack.store._compaction import compact_writer
from devtrack.store._layout import SegmentName
from devtrack.store._listing import list_segments
from devtrack.store._segments import writer_connection

STORES_AS_USERS_MAKE_THEM = True

Info = Callable[..., RunInfo]
_HERE = Path(__file__).parent
_ROWS = "SELECT attempt, seq, value FROM metrics_all ORDER BY ALL"


def _fill(store: Store, info: RunInfo, *, flushes: int, compact: bool = False) -> None:
    writer = store.writer(info)
    for step in range(flushes):
        trace = ChainTrace("llc", np.full((1, 2), step), np.zeros((1, 2)))
        writer.append(TrainingProgress(step), [Row("llc", float(step)), trace])
        writer.flush()
    writer.close(compact=compact)


def _await_removal() -> None:
    """Return when the files that a closed writer merged are gone: after the grace."""
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):
            thread.join()


def _names(store: Store, table: str = "metrics") -> set[str]:
    return {path.name for path in (store.path / "r1" / "segments" / table).glob("*.parquet")}


def test_compaction_changes_files_and_no_row(store: Store, info: Info) -> None:
    _fill(store, info(), flushes=4)
    _fill(store, info(), flushes=3)
    rows = store.sql(_ROWS).fetchall()
    assert len(rows) == 7
    assert store.compact(grace_s=0.0) == {"r1": (14, 4)}
    assert store.sql(_ROWS).fetchall() == rows
    assert _names(store) == {
        str(SegmentName(0, 0, 0, 6)),
        str(SegmentName(1, 0, 0, 4)),
    }
    assert store.compact(grace_s=0.0) == {"r1": (4, 4)}


def test_close_compacts(store: Store, info: Info) -> None:
    _fill(store, info(), flushes=3, compact=True)
    rows = store.sql(_ROWS).fetchall()
    assert len(rows) == 3
    _await_removal()
    assert len(_names(store)) == len(_names(store, "chains")) == 1
    assert store.sql(_ROWS).fetchall() == rows


def test_a_crash_between_rename_and_remove_shows_each_row_once(store: Store, info: Info) -> None:
    _fill(store, info(), flushes=4)
    rows = store.sql(_ROWS).fetchall()
    folder = store.path / "r1" / "segments" / "metrics"
    with writer_connection() as connection:
        covered = compact_writer(connection, folder, attempt=0, rank=0)
    assert len(covered) == 4 and len(_names(store)) == 5  # nobody removed them
    assert store.sql(_ROWS).fetchall() == rows
    covered[1].unlink()  # killed half way through
    assert store.sql(_ROWS).fetchall() == rows
    store.compact(grace_s=0.0)
    assert _names(store) == {str(SegmentName(0, 0, 0, 6))}
    assert store.sql(_ROWS).fetchall() == rows


def test_two_compactors_do_not_meet(store: Store, info: Info) -> None:
    _fill(store, info(), flushes=3)
    folder = store.path / "r1" / "segments" / "metrics"
    with compaction._only_compactor(folder.parent) as alone, writer_connection() as connection:
        assert alone
        assert compact_writer(connection, folder, attempt=0, rank=0) == []
    assert len(_names(store)) == 3


def test_a_listing_with_a_hole_is_not_believed(
    store: Store, info: Info, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fill(store, info(), flushes=4)
    folder = store.path / "r1" / "segments" / "metrics"
    whole = list_segments(folder)
    hole = whole - {sorted(whole)[1]}
    listings = iter([hole, whole, whole, set()])  # the last is of the quarantine
    monkeypatch.setattr(compaction, "list_segments", lambda _: next(listings))
    with writer_connection() as connection:
        assert len(compact_writer(connection, folder, attempt=0, rank=0)) == 4
    monkeypatch.undo()
    assert len(store.sql(_ROWS).fetchall()) == 4


@pytest.mark.parametrize("fresh", ["0", "1"])
def test_a_reader_sees_each_row_once_at_every_instant(store: Store, info: Info, fresh: str) -> None:
    """A stranger's process hammers while a writer flushes, compacts and removes."""
    writer = store.writer(info(), policy=FlushPolicy(compact_after=4))
    writer.append(TrainingProgress(0), [Row("llc", 0.0)])
    writer.flush()
    reader = subprocess.Popen(
        [sys.executable, _HERE / "plain_reader.py", store.path / "devtrack.duckdb", fresh],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    pause = threading.Event()
    for step in range(1, 60):
        writer.append(TrainingProgress(step), [Row("llc", float(step))])
        writer.flush()
        pause.wait(0.04)
    writer.close()
    _await_removal()
    report = json.loads(reader.communicate(input="")[0])
    assert report["broken"] == [] and report["failed"] == []
    assert report["seen"] == 60
    assert report["reads"] > 10
    assert len(_names(store)) == 1


def test_many_writers_compact_under_readers_in_threads(store: Store, info: Info) -> None:
    """Within one process: three ranks write while store.compact() and queries run."""
    policy = FlushPolicy(compact_after=3, grace_s=0.3)
    writers = [store.writer(info(), policy=policy)]
    writers += [store.writer(info(), rank=k, attempt=0, policy=policy) for k in (1, 2)]
    faults: list[object] = []
    ended = threading.Event()

    def read() -> None:
        query = "SELECT rank, count(*), count(DISTINCT value), max(value)+1 FROM metrics GROUP BY 1"
        while not ended.is_set():
            try:
                rows = store.sql(query).fetchall()
            except Exception as error:
                faults.append(error)
                return
            faults.extend(row for row in rows if not row[1] == row[2] == row[3])

    def compact() -> None:
        while not ended.is_set():
            store.compact(grace_s=0.3)

    threads = [threading.Thread(target=job) for job in (read, compact)]
    for thread in threads:
        thread.start()
    for step in range(25):
        for writer in writers:
            writer.append(TrainingProgress(step), [Row("llc", float(step))])
            writer.flush()
    for writer in writers:
        writer.close()
    ended.set()
    for thread in threads:
        thread.join()
    assert faults == []
    count = "SELECT count(*), count(DISTINCT (rank, value)) FROM metrics"
    assert store.sql(count).fetchall() == [(75, 75)]


def test_compaction_of_a_damaged_segment_puts_it_aside(store: Store, info: Info) -> None:
    _fill(store, info(), flushes=3)
    bad = store.path / "r1" / "segments" / "metrics" / min(_names(store))
    bad.write_bytes(b"PAR1 not really PAR1")
    with pytest.warns(UserWarning, match="damaged"):
        store.compact(grace_s=0.0)
    assert [row[2] for row in store.sql(_ROWS).fetchall()] == [1.0, 2.0]
    assert (store.path / "r1" / "quarantine" / "metrics" / bad.name).exists()


def test_compaction_leaves_room_for_what_lies_in_quarantine(store: Store, info: Info) -> None:
    """A file that covered it would hide its rows when a good copy is put back, and remove it."""
    _fill(store, info(), flushes=7)
    rows = store.sql(_ROWS).fetchall()
    bad = store.path / "r1" / "segments" / "metrics" / sorted(_names(store))[3]
    good = bad.read_bytes()
    bad.write_bytes(b"PAR1 not really PAR1")
    with pytest.warns(UserWarning, match="damaged"):
        store.compact(grace_s=0.0)
    assert len(_names(store)) == 2
    bad.write_bytes(good)  # as `devtrack doctor` says
    assert store.sql(_ROWS).fetchall() == rows
    (store.path / "r1" / "quarantine" / "metrics" / bad.name).unlink()
    store.compact(grace_s=0.0)
    assert len(_names(store)) == 1
    assert store.sql(_ROWS).fetchall() == rows


def test_the_views_rule_and_the_compactions_rule_agree(store: Store, info: Info) -> None:
    """devtrack.duckdb leaves out in SQL what layout.uncovered leaves out in Python."""
    from devtrack.store._layout import uncovered

    rng = np.random.default_rng(0)
    _fill(store, info(), flushes=1)
    folder = store.path / "r1" / "segments" / "metrics"
    source = next(folder.glob("*.parquet"))
    content = source.read_bytes()
    source.unlink()
    names = set()
    for _ in range(6):  # nested ranges, as repeated compaction makes them
        lo = 10 * int(rng.integers(0, 4))
        for hi in (lo + 4, lo + 9):
            names.add(SegmentName(0, 0, lo, hi))
    for name in names:
        (folder / str(name)).write_bytes(content)
    count = "SELECT count(*) FROM segment.rows_of('metrics')"
    with duckdb.connect(store.path / "devtrack.duckdb", read_only=True) as door:
        assert door.execute(count).fetchall() == [(len(uncovered(list(names))),)]
    assert store.sql(count).fetchall() == [(len(uncovered(list(names))),)]
    assert len(uncovered(list(names))) < len(names)
