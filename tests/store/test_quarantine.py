import math
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from devtrack.errors import StoreError
from devtrack.records import Row, RunInfo, TrainingProgress
from devtrack.store import Store, StoreWarning, _left_out, _quarantine, open_store
from devtrack.store import store as store_module

STORES_AS_USERS_MAKE_THEM = True

Info = Callable[..., RunInfo]


def _three_segments(store: Store, info: RunInfo) -> None:
    writer = store.writer(info)
    for step in range(3):
        writer.append(TrainingProgress(step), [Row("a", float(step), attrs={"text": "x" * 500})])
        writer.flush()
    writer.close(compact=False)


def _truncate(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _flip(content: bytes) -> bytes:
    """Invert bytes within the pages: the footer still looks well."""
    inverted = bytes(255 - byte for byte in content[4:200])
    return content[:4] + inverted + content[200:]


@pytest.mark.parametrize("damage", [_truncate, _flip, lambda _: b""])
@pytest.mark.parametrize("reopen", [False, True])
def test_a_damaged_segment_is_named_put_aside_and_the_rest_is_read(
    store: Store, info: Info, damage: Callable[[bytes], bytes], reopen: bool
) -> None:
    _three_segments(store, info())
    segments = sorted((store.path / "r1" / "segments" / "metrics").glob("*.parquet"))
    spoilt = damage(segments[1].read_bytes())
    segments[1].write_bytes(spoilt)
    if reopen:
        (store.path / "devtrack.duckdb").unlink()  # the views are bound again, over the damage
    with pytest.warns(StoreWarning, match=rf"{segments[1].name}: damaged .*quarantine"):
        store = open_store(store.path) if reopen else store
        rows = store.sql("SELECT * FROM metrics ORDER BY step").fetchall()
    assert [row[5] for row in rows] == [0, 2]
    kept = store.path / "r1" / "quarantine" / "metrics" / segments[1].name
    assert kept.read_bytes() == spoilt
    assert len(store.sql("FROM metrics").fetchall()) == 2


def test_damage_in_a_store_that_cannot_be_written_is_an_error(
    store: Store, info: Info, monkeypatch: pytest.MonkeyPatch
) -> None:
    _three_segments(store, info())
    segment = min((store.path / "r1" / "segments" / "metrics").glob("*.parquet"))
    segment.write_bytes(b"x")

    def refuse(_: object) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr("devtrack.store._quarantine.make_dirs", refuse)
    with pytest.raises(StoreError, match=r"damaged .* cannot be put aside .*Make the store writ"):
        store.sql("FROM metrics")
    assert segment.exists()


def test_a_damaged_schema_file_is_written_anew(store: Store, info: Info) -> None:
    _three_segments(store, info())
    for path in (store.path / "_schema").rglob("*.parquet"):
        path.write_bytes(b"x")
    assert len(store.sql("FROM metrics").fetchall()) == 3
    assert open_store(store.path).check() == []


class _Disk:
    """A disk on which some files cannot be read, so many times."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, bad: Path, *, times: float) -> None:
        self.bad, self.left = bad, times
        self.waits: list[float] = []
        self.decode, self.list_files = _quarantine._decode, store_module.list_files
        monkeypatch.setattr(_quarantine, "_decode", self._decode)
        monkeypatch.setattr(store_module, "list_files", self._list_files)
        monkeypatch.setattr(_left_out.time, "sleep", self.waits.append)

    def _fail(self) -> None:
        raise duckdb.IOException(f'IO Error: Cannot open file "{self.bad}": Stale file handle')

    def _decode(self, connection: duckdb.DuckDBPyConnection, path: Path) -> None:
        if path == self.bad and self.left > 0:
            self._fail()
        self.decode(connection, path)

    def _list_files(
        self, connection: duckdb.DuckDBPyConnection, store: Path, *, left_out: set[Path]
    ) -> None:
        if self.left > 0 and self.bad not in left_out:
            self.left -= 1
            self._fail()
        self.list_files(connection, store, left_out=left_out)


def _segments(store: Store) -> list[Path]:
    return sorted((store.path / "r1" / "segments" / "metrics").glob("*.parquet"))


def test_a_passing_error_of_the_disk_is_waited_out_and_moves_nothing(
    store: Store, info: Info, monkeypatch: pytest.MonkeyPatch
) -> None:
    _three_segments(store, info())
    before = _segments(store)
    disk = _Disk(monkeypatch, before[1], times=2)
    assert len(store.sql("FROM metrics").fetchall()) == 3
    assert _segments(store) == before
    assert 1 <= len(disk.waits) <= 2


def test_a_lasting_error_leaves_the_segment_out_by_name_for_this_reader_only(
    store: Store, info: Info, monkeypatch: pytest.MonkeyPatch
) -> None:
    _three_segments(store, info())
    before = _segments(store)
    disk = _Disk(monkeypatch, before[1], times=math.inf)
    with pytest.warns(StoreWarning, match=rf"{before[1].name}: cannot be read .*Stale.*left out"):
        rows = store.sql("SELECT step FROM metrics ORDER BY step").fetchall()
    assert rows == [(0,), (2,)]
    assert _segments(store) == before, "nothing is moved"
    num_waits = len(disk.waits)
    assert store.sql("FROM metrics").fetchall() and len(disk.waits) == num_waits, "named once"
    (finding,) = [f for f in store.check() if f.severity == "error"]
    assert before[1].name in finding.what and "cannot be read by this process" in finding.what
    disk.left = 0
    assert len(open_store(store.path).sql("FROM metrics").fetchall()) == 3


def test_bytes_that_cannot_be_read_condemn_nothing(
    store: Store, info: Info, monkeypatch: pytest.MonkeyPatch
) -> None:
    _three_segments(store, info())
    bad = _segments(store)[1]
    whole = bad.read_bytes()
    bad.write_bytes(_truncate(whole))  # what DuckDB sees

    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", refuse)
        faults = _quarantine.find_faults(store.path)
    assert [fault.path for fault in faults.unreadable] == [bad]
    assert faults.damaged == []
    assert [fault.path for fault in _quarantine.find_faults(store.path).damaged] == [bad]


def test_whole_segments_in_quarantine_are_put_back_and_damaged_ones_stay(
    store: Store, info: Info
) -> None:
    _three_segments(store, info())
    first, second, third = _segments(store)
    aside = store.path / "r1" / "quarantine" / "metrics"
    aside.mkdir(parents=True)
    first.rename(aside / first.name)
    second.rename(aside / second.name)
    (aside / second.name).write_bytes(b"x")
    texts = [finding.what for finding in store.check()]
    assert sum("though it is whole" in what for what in texts) == 1
    done = store.restore()
    assert done.restored == [first]
    assert [fault.path.name for fault in done.kept] == [second.name]
    assert sorted(r[0] for r in store.sql("SELECT step FROM metrics").fetchall()) == [0, 2]
    assert (aside / second.name).read_bytes() == b"x"
    first.rename(aside / first.name)
    first.write_bytes(third.read_bytes())  # somebody has put a copy there
    kept = store.restore().kept
    assert [fault.complaint for fault in kept if fault.path.name == first.name] == [
        f"{first} exists: its rows are in the views"
    ]
