import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from devtrack.errors import StoreError
from devtrack.records import Row, RunInfo, TrainingProgress
from devtrack.store import Store, open_store
from devtrack.store import _atomic_files as files
from devtrack.store import _schema as schema
from devtrack.store import _segments as segments
from devtrack.store._layout import TABLES, VIEWS, VIEWS_FILE
from devtrack.store._views import views_file_is_current

STORES_AS_USERS_MAKE_THEM = True

Info = Callable[..., RunInfo]
_COUNT = "SELECT count(*) FROM metrics"


def _one_row(store: Store, info: RunInfo) -> None:
    with store.writer(info) as writer:
        writer.append(TrainingProgress(0), [Row("loss", 1.0)])


def _read_plainly(store_path: Path, query: str = _COUNT) -> list[tuple]:
    """Read as a stranger would; the path is quoted as little as DuckDB allows."""
    with duckdb.connect() as connection:
        quoted = str(store_path / VIEWS_FILE).replace("'", "''")
        connection.execute(f"ATTACH '{quoted}' AS door (READ_ONLY)")
        connection.execute("USE door")
        return connection.execute(query).fetchall()


def test_schema_sql_has_every_table_and_view_commented(store: Store) -> None:
    text = Path(schema.__file__).with_name("schema.sql").read_text()
    for line_before, name in _definitions(text):
        assert line_before.startswith("--") or name in ("events", "snapshots", "chains"), name
    views = store.sql("SELECT view_name FROM duckdb_views() WHERE schema_name = 'main'").fetchall()
    own = {name for (name,) in views if name in VIEWS}
    assert own == set(VIEWS)
    for view in VIEWS:
        columns = [row[0] for row in store.sql(f"DESCRIBE {view}").fetchall()]
        assert columns[:2] == ["run", "run_id"], view
    for table in TABLES:
        assert schema.columns_of(table)[0].name == "run_id"


def _definitions(text: str) -> list[tuple[str, str]]:
    lines = text.splitlines()
    return [
        (lines[k - 1], line.split()[2].removeprefix("segment."))
        for k, line in enumerate(lines)
        if line.startswith("CREATE VIEW") and k
    ]


def test_every_view_of_an_empty_store_is_empty_and_typed(store: Store) -> None:
    for view in VIEWS:
        assert store.sql(f"FROM {view}").fetchall() == []
    types = dict(zip(*map(store.sql("FROM metrics").__getattribute__, ("columns", "types"))))
    assert (str(types["step"]), str(types["ts_utc"])) == ("BIGINT", "TIMESTAMP")
    assert (str(types["value"]), str(types["attrs"])) == ("DOUBLE", "JSON")


@pytest.mark.parametrize("name", ["plain", "it's [a] *st?re* {x,y}", "key=value", "ünï cødé"])
def test_any_path_works(tmp_path: Path, info: Info, name: str) -> None:
    store = open_store(tmp_path / name / "runs", create=True)
    _one_row(store, info())
    _one_row(store, info())
    assert store.sql(_COUNT).fetchall() == [(2,)]
    assert store.compact(grace_s=0.0)
    assert _read_plainly(store.path) == [(2,)]
    assert views_file_is_current(store.path)


def test_a_moved_store_is_mended_by_opening_it(store: Store, info: Info) -> None:
    _one_row(store, info())
    moved = store.path.rename(store.path.with_name("elsewhere"))
    with pytest.raises(duckdb.Error):
        _read_plainly(moved)
    assert open_store(moved).sql(_COUNT).fetchall() == [(1,)]
    assert _read_plainly(moved) == [(1,)]


@pytest.mark.parametrize("content", [None, b"", b"damaged" * 1000])
def test_a_missing_or_damaged_views_file_is_renewed(
    store: Store, info: Info, content: bytes | None
) -> None:
    _one_row(store, info())
    path = store.path / VIEWS_FILE
    path.unlink() if content is None else path.write_bytes(content)
    assert not views_file_is_current(store.path)
    open_store(store.path)
    assert _read_plainly(store.path) == [(1,)]
    assert [p.name for p in store.path.iterdir() if VIEWS_FILE in p.name] == [VIEWS_FILE]


def test_a_damaged_views_file_is_renewed_in_a_folder_called_clock(tmp_path: Path) -> None:
    """A file that another process has locked is not; the path is no sign of that."""
    store = open_store(tmp_path / "clock", create=True)
    (store.path / VIEWS_FILE).write_bytes(b"damaged" * 1000)
    assert not views_file_is_current(store.path)


def test_views_of_another_version_are_renewed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("devtrack.store._views.schema_fingerprint", lambda: "of another version")
    assert not views_file_is_current(store.path)


_HOLDER = """
import duckdb, sys
connection = duckdb.connect(sys.argv[1])
connection.execute("FROM metrics").fetchone()
print("open", flush=True)
sys.stdin.read()
print(connection.execute("SELECT count(*) FROM metrics").fetchone()[0])
"""


def test_a_reader_that_holds_the_file_open_blocks_nobody(store: Store, info: Info) -> None:
    """Read-write even: the lock is on a file that training never opens."""
    command = [sys.executable, "-c", _HOLDER, str(store.path / VIEWS_FILE)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout and holder.stdin
        assert holder.stdout.readline() == "open\n"
        other = open_store(store.path)
        _one_row(other, info())
        assert other.sql(_COUNT).fetchall() == [(1,)]
        assert views_file_is_current(store.path)
        holder.stdin.close()
        assert holder.stdout.read() == "1\n"


def _refuse(*_: object, **__: object) -> None:
    raise PermissionError("read-only file system")


def test_a_read_only_store_is_read_from_memory(
    store: Store, info: Info, monkeypatch: pytest.MonkeyPatch
) -> None:
    _one_row(store, info())
    moved = store.path.rename(store.path.with_name("archive"))
    monkeypatch.setattr(files, "publish", _refuse)
    monkeypatch.setattr(segments, "publish", _refuse)
    monkeypatch.setattr(files, "fsync_dir", _refuse)
    archive = open_store(moved)
    assert archive.sql(_COUNT).fetchall() == [(1,)]
    with pytest.raises(StoreError, match=r"archive: cannot be written \(read-only.*permissions"):
        archive.writer(info("r2"))
    shutil.rmtree(moved / "_schema")
    with pytest.raises(StoreError, match="lacks the files of this devtrack's schema"):
        open_store(moved)


def test_a_column_of_a_later_version_is_ignored_and_a_missing_one_is_null(
    store: Store, info: Info
) -> None:
    _one_row(store, info())
    folder = store.path / "r1" / "segments" / "metrics"
    (segment,) = folder.glob("*.parquet")
    with duckdb.connect() as connection:
        for seq, columns in ((1, "*, 1 AS added"), (2, "* EXCLUDE (se, epoch)")):
            path = folder / f"a0000-r000-{seq:012d}-{seq:012d}.parquet"
            connection.execute(f"COPY (SELECT {columns} FROM '{segment}') TO '{path}'")
    rows = store.sql("SELECT value, epoch FROM metrics ORDER BY ALL").fetchall()
    assert rows == [(1.0, 0), (1.0, 0), (1.0, None)]
    assert _read_plainly(store.path) == [(3,)]


def test_the_views_file_is_in_the_oldest_storage_format(store: Store) -> None:
    content = (store.path / VIEWS_FILE).read_bytes()
    assert content[8:12] == b"DUCK"
    assert int.from_bytes(content[12:20], "little") == 64  # the storage version of DuckDB 0.9–1.1


def test_a_view_knows_the_path_by_its_absolute_name(tmp_path: Path, info: Info) -> None:
    before = Path.cwd()
    try:
        os.chdir(tmp_path)
        store = open_store("runs", create=True)
        _one_row(store, info())
    finally:
        os.chdir(before)
    assert store.path == tmp_path / "runs"
    assert _read_plainly(store.path) == [(1,)]
