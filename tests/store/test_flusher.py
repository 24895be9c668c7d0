"""What happens when the store cannot be written. The errors are real."""

import logging
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import pytest

from devtrack.errors import StoreError
from devtrack.records import ChainTrace, Event, Row, RunInfo, TrainingProgress
from devtrack.store import FlushPolicy, Store, Writer
from devtrack.store import _commit_queue as backlog
from devtrack.store._overflow import spill_dir

Info = Callable[..., RunInfo]


def _break(writer: Writer) -> Path:
    """Put a file where the segments' folder belongs."""
    path = writer.run_dir / "segments"
    path.write_text("in the way")
    return path


def _values(store: Store) -> list[float]:
    return [value for (value,) in store.sql("SELECT value FROM metrics ORDER BY seq").fetchall()]


def test_an_io_error_is_tried_again_and_nothing_is_lost(
    store: Store, info: Info, caplog: pytest.LogCaptureFixture
) -> None:
    writer = store.writer(info(), policy=FlushPolicy(interval_s=0.01))
    obstacle = _break(writer)
    for step in range(5):
        writer.append(TrainingProgress(step), [Row("a", float(step))])
        time.sleep(0.05)
    with pytest.raises(StoreError, match=r"rows could not be written .*kept and tried again"):
        writer.flush(timeout_s=0.3)
    assert [r.levelname for r in caplog.records] == ["WARNING"]
    assert "Training goes on" in caplog.text
    obstacle.unlink()
    writer.flush()
    assert _values(store) == [0, 1, 2, 3, 4]
    assert "can be written again; no row was lost" in caplog.text
    writer.close()


def test_a_flush_waits_out_an_outage_once_and_then_only_tries(store: Store, info: Info) -> None:
    """Or a training would stand still at every checkpoint until the store is back."""
    writer = store.writer(info())
    obstacle = _break(writer)
    writer.append(TrainingProgress(0), [Row("a", 0.0)])
    with pytest.raises(StoreError):
        writer.flush(timeout_s=0.3)
    start, patience_s = time.monotonic(), 20.0
    for step in (1, 2):
        writer.append(TrainingProgress(step), [Row("a", float(step))])
        with pytest.raises(StoreError, match="kept and tried again"):
            writer.flush(timeout_s=patience_s)
    assert time.monotonic() - start < patience_s
    obstacle.unlink()
    writer.flush()
    assert _values(store) == [0, 1, 2]
    writer.close()


def test_it_recovers_by_itself(store: Store, info: Info) -> None:
    writer = store.writer(info(), policy=FlushPolicy(interval_s=0.01))
    obstacle = _break(writer)
    writer.append(TrainingProgress(0), [Row("a", 1.0)])
    time.sleep(0.1)
    obstacle.unlink()
    deadline = time.monotonic() + 10
    while _values(store) != [1.0]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    writer.close()


@pytest.mark.parametrize("kind", [OSError, duckdb.IOException, RuntimeError])
def test_any_error_of_a_write_is_survived(
    store: Store, info: Info, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    real, failures = backlog.write_segment, iter(range(3))

    def flaky(*args: object, **kwargs: object) -> None:
        if next(failures, None) is not None:
            raise kind("No space left on device")
        real(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(backlog, "write_segment", flaky)
    with store.writer(info()) as writer:
        for step in range(10):
            writer.append(TrainingProgress(step), [Row("a", float(step))])
        writer.flush()
    assert _values(store) == list(range(10))


def _without_baseline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Encode chains as if a column of theirs had been forgotten."""
    real = backlog.to_columns

    def forgetful(table: str, *args: object) -> object:
        columns = real(table, *args)  # type: ignore[arg-type]
        columns.pop("baseline", None)
        return columns

    monkeypatch.setattr(backlog, "to_columns", forgetful)


def test_nobody_waits_for_what_is_no_outage(
    store: Store,
    info: Info,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A column that was forgotten is still missing at the next try. Other rows are not lost."""
    _without_baseline(monkeypatch)
    writer = store.writer(info(), policy=FlushPolicy(spill_root=str(tmp_path)))
    writer.append(TrainingProgress(0), [Row("a", 1.0), Event("b")])
    writer.flush()
    start, patience_s = time.monotonic(), 30.0
    trace = ChainTrace("a", np.ones((2, 3)), np.zeros((2, 3)))
    for step in (1, 2):
        writer.append(TrainingProgress(step), [trace, Row("a", 2.0), Event("b")])
        with pytest.raises(StoreError, match="baseline.*report it as a defect"):
            writer.flush(timeout_s=patience_s)
    assert caplog.text.count("report it as a defect of devtrack") == 1
    with pytest.raises(StoreError, match=r"baseline.*12 rows are lost"):
        writer.close(timeout_s=patience_s)
    assert time.monotonic() - start < patience_s
    assert f"went to {writer._flusher.spill_dir}" in caplog.text
    assert _values(store) == [1.0]
    store.adopt(writer._flusher.spill_dir)
    assert _values(store) == [1.0, 2.0, 2.0]
    assert store.sql("SELECT count(*) FROM events").fetchall() == [(3,)]


def test_what_is_no_outage_is_tried_at_the_longest_pause(
    store: Store, info: Info, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where so many rows wait that they would be spilled at every round."""
    _without_baseline(monkeypatch)
    real, calls = backlog.write_segment, []

    def counted(*args: object, **kwargs: object) -> None:
        calls.append(kwargs["path"])
        real(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(backlog, "write_segment", counted)
    policy = FlushPolicy(
        interval_s=0.001, wake_rows=1, max_pending_rows=1, spill_root=str(tmp_path)
    )
    writer = store.writer(info(), policy=policy)
    for step in range(30):
        trace = ChainTrace("a", np.ones((2, 3)), np.zeros((2, 3)))
        writer.append(TrainingProgress(step), [trace])
        time.sleep(0.02)
    assert len(calls) == 2  # once into the store and once into the spill folder
    with pytest.raises(StoreError, match="180 rows are lost"):
        writer.close()


def test_records_that_cannot_be_converted_yet_are_not_committed(
    store: Store, info: Info, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No record is known to do this; should one, ``flush`` must not say that it is on disk."""
    real, broken = backlog.to_columns, [True]

    def flaky(table: str, *args: object) -> object:
        if broken[0] and table == "metrics":
            raise MemoryError("no room to convert")
        return real(table, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(backlog, "to_columns", flaky)
    writer = store.writer(info(), policy=FlushPolicy(interval_s=0.01))
    writer.append(TrainingProgress(0), [Row("a", 0.0), Event("first")])
    with pytest.raises(StoreError, match=r"no room to convert.*kept and tried again"):
        writer.flush(timeout_s=0.2)
    writer.append(TrainingProgress(1), [Row("a", 1.0), Event("second")])
    broken[0] = False
    writer.close()
    assert _values(store) == [0.0, 1.0]
    events = store.sql("SELECT kind FROM events ORDER BY step").fetchall()
    assert events == [("first",), ("second",)]


def test_too_many_rows_spill_and_come_home(
    store: Store, info: Info, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    policy = FlushPolicy(
        interval_s=0.01, max_pending_rows=10, wake_rows=10, spill_root=str(tmp_path)
    )
    writer = store.writer(info(), policy=policy)
    obstacle = _break(writer)
    spill = spill_dir(tmp_path, writer.run_dir)
    deadline = time.monotonic() + 10
    step = 0
    while not list(spill.glob("r1/segments/metrics/*.parquet")):
        writer.append(TrainingProgress(step), [Row("a", float(step))])
        step += 1
        time.sleep(0.01)
        assert time.monotonic() < deadline
    time.sleep(0.1)
    assert f"went to {spill}" in caplog.text
    assert writer._flusher.waiting_rows <= 20
    with pytest.raises(StoreError):
        writer.flush(timeout_s=0.1)  # spilled is not committed
    obstacle.unlink()
    writer.close()
    assert _values(store) == list(range(step))
    assert not list(spill.rglob("*.parquet"))


def test_what_close_cannot_write_waits_in_the_spill_folder(
    store: Store, info: Info, tmp_path: Path
) -> None:
    writer = store.writer(info(), policy=FlushPolicy(spill_root=str(tmp_path)))
    obstacle = _break(writer)
    writer.append(TrainingProgress(0), [Row("a", 1.0)])
    with pytest.raises(StoreError, match=r"they are in .*devtrack-spill-r1.*adopt"):
        writer.close(timeout_s=0.2)
    obstacle.unlink()
    assert _values(store) == []
    assert store.adopt(spill_dir(tmp_path, writer.run_dir)) == 1
    assert _values(store) == [1.0]
    with pytest.raises(StoreError, match="holds no spilled segments"):
        store.adopt(spill_dir(tmp_path, writer.run_dir))


def test_without_any_disk_rows_stay_in_memory(
    store: Store, info: Info, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    nowhere = tmp_path / "file"
    nowhere.write_text("in the way")
    policy = FlushPolicy(interval_s=0.01, max_pending_rows=3, wake_rows=3, spill_root=str(nowhere))
    writer = store.writer(info(), policy=policy)
    obstacle = _break(writer)
    for step in range(20):
        writer.append(TrainingProgress(step), [Row("a", float(step))])
        time.sleep(0.01)
    obstacle.unlink()
    writer.close()
    assert _values(store) == list(range(20))
    assert caplog.text.count("cannot be written either") == 1


def test_append_does_not_wait_for_a_disk_that_hangs(
    store: Store, info: Info, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    real = backlog.write_segment

    def hang(*args: object, **kwargs: object) -> None:
        time.sleep(0.3)
        real(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(backlog, "write_segment", hang)
    with store.writer(info(), policy=FlushPolicy(interval_s=0.001)) as writer:
        start = time.perf_counter()
        for step in range(100):
            writer.append(TrainingProgress(step), [Row("a", float(step))])
        assert time.perf_counter() - start < 0.3  # a hundred writes would take 30 s
    assert _values(store) == list(range(100))


def test_the_writer_compacts_by_itself(store: Store, info: Info) -> None:
    writer = store.writer(info(), policy=FlushPolicy(compact_after=5, grace_s=0.0))
    for step in range(23):
        writer.append(TrainingProgress(step), [Row("a", float(step))])
        writer.flush()
    time.sleep(0.1)
    assert len(list((writer.run_dir / "segments" / "metrics").glob("*.parquet"))) < 10
    assert _values(store) == list(range(23))
    writer.close()
