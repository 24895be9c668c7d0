"""Store.sql lists the files itself: what it reads, and what happens when they change meanwhile."""

from collections.abc import Callable
from pathlib import Path

import pytest

from devtrack.records import ChainTrace, Row, RunInfo, TrainingProgress
from devtrack.store import Store, open_store
from devtrack.store import _views as views
from devtrack.store._listing import current_files

Info = Callable[..., RunInfo]


def _segment(store: Store, info: RunInfo) -> Path:
    with store.writer(info) as writer:
        writer.append(TrainingProgress(0), [Row("a", 1.0, attrs={"text": "x" * 500})])
    (segment,) = (writer.run_dir / "segments" / "metrics").glob("*.parquet")
    return segment


def test_a_filter_reaches_the_files(store: Store, info: Info) -> None:
    """The pages of r2 cannot be read: a query for r1 that touched them would warn, which fails."""
    _segment(store, info("r1"))
    segment = _segment(store, info("r2"))
    content = segment.read_bytes()
    pages = bytes(255 - byte for byte in content[4:200])
    segment.write_bytes(content[:4] + pages + content[200:])
    assert store.sql("SELECT value FROM metrics WHERE run_id = 'r1'").fetchall() == [(1.0,)]
    with pytest.warns(UserWarning, match=r"r2.*damaged"):
        assert len(store.sql("FROM metrics").fetchall()) == 1


@pytest.mark.parametrize("name", ["runs", "r[u]n?s"])
def test_a_file_that_went_after_the_listing_is_listed_anew(
    tmp_path: Path, info: Info, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    store = open_store(tmp_path / name, create=True)
    segment = _segment(store, info())
    old = [[segment.with_name("a0000-r000-000000000000-000000000009.parquet")]]

    def stale(path: Path, table: str) -> list[Path]:
        gone = old.pop() if old and table == "metrics" else []
        return current_files(path, table) + gone

    store.sql("FROM metrics")
    monkeypatch.setattr(views, "current_files", stale)
    assert store.sql("SELECT value FROM metrics").fetchall() == [(1.0,)]
    assert old == []


def test_a_listed_number_has_its_traces_listed(
    store: Store, info: Info, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer flushes between the listings of two tables."""
    writer = store.writer(info())
    steps = iter(range(10))

    def flushing(path: Path, table: str) -> list[Path]:
        writer.append(
            TrainingProgress(next(steps)), [Row("llc", 1.0), ChainTrace("llc", [[1.0]], [[0.0]])]
        )  # type: ignore[arg-type]
        writer.flush()
        return current_files(path, table)

    monkeypatch.setattr(views, "current_files", flushing)
    alone = "FROM metrics ANTI JOIN chains USING (run_id, step, metric)"
    assert store.sql(alone).fetchall() == []
    assert next(steps) >= 4
    writer.close()


def test_what_is_no_segment_is_not_read(store: Store, info: Info) -> None:
    segment = _segment(store, info())
    segment.with_name("notes.parquet").write_bytes(b"x")
    (store.path / "notes.txt").write_text("x")
    assert len(store.sql("FROM metrics").fetchall()) == 1
