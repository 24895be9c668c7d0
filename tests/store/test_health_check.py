from collections.abc import Callable
from pathlib import Path

import pytest

from devtrack.records import Row, RunInfo, SnapshotRecord, TrainingProgress
from devtrack.store import Store
from devtrack.store import _health_check as check
from devtrack.store._compaction import compact_writer
from devtrack.store._overflow import spill_dir
from devtrack.store._segments import writer_connection

STORES_AS_USERS_MAKE_THEM = True

Info = Callable[..., RunInfo]


def _fill(store: Store, info: RunInfo) -> Path:
    writer = store.writer(info)
    for step in range(3):
        writer.append(
            TrainingProgress(step), [Row("a", 1.0), SnapshotRecord("ab", "snapshots/ab", 1)]
        )
        writer.flush()
    writer.close(compact=False)
    (writer.run_dir / "snapshots").mkdir()
    (writer.run_dir / "snapshots" / "ab").write_bytes(b"x")
    return writer.run_dir


def _spoil_segment(store: Store, run_dir: Path) -> None:
    min((run_dir / "segments" / "metrics").iterdir()).write_bytes(b"x")


def _spoil_run_file(store: Store, run_dir: Path) -> None:
    (run_dir / "run.json").write_text("{")


def _rename_run(store: Store, run_dir: Path) -> None:
    run_dir.rename(run_dir.with_name("r9"))


def _lose_views_file(store: Store, run_dir: Path) -> None:
    (store.path / "devtrack.duckdb").unlink()


def _lose_snapshot(store: Store, run_dir: Path) -> None:
    (run_dir / "snapshots" / "ab").unlink()


def _leave_temporary(store: Store, run_dir: Path) -> None:
    (run_dir / "segments" / "metrics" / "a.parquet.1-ab.tmp").write_bytes(b"x")


def _leave_covered(store: Store, run_dir: Path) -> None:
    with writer_connection() as connection:
        compact_writer(connection, run_dir / "segments" / "metrics", attempt=0, rank=0)


def _quarantine(store: Store, run_dir: Path) -> None:
    (run_dir / "quarantine" / "metrics").mkdir(parents=True)
    (run_dir / "quarantine" / "metrics" / "a.parquet").write_bytes(b"x")


def _spill(store: Store, run_dir: Path) -> None:
    source = min((run_dir / "segments" / "metrics").iterdir())
    target = spill_dir(store.path.parent, run_dir) / source.relative_to(store.path)
    target.parent.mkdir(parents=True)
    target.write_bytes(source.read_bytes())


@pytest.mark.parametrize(
    ("harm", "severity", "words"),
    [
        (_spoil_segment, "error", "damaged segment"),
        (_quarantine, "error", "quarantined"),
        (_spill, "error", "wait here"),
        (_spoil_run_file, "warning", "unreadable"),
        (_rename_run, "warning", "not its folder's name"),
        (_lose_views_file, "warning", "missing, damaged"),
        (_lose_snapshot, "warning", "is not there"),
        (_leave_temporary, "note", "unfinished file"),
        (_leave_covered, "note", "3 segments that a wider one covers"),
    ],
)
def test_each_harm_is_found(
    store: Store,
    info: Info,
    monkeypatch: pytest.MonkeyPatch,
    harm: Callable[[Store, Path], None],
    severity: str,
    words: str,
) -> None:
    monkeypatch.setattr(check.tempfile, "gettempdir", lambda: str(store.path.parent))
    run_dir = _fill(store, info())
    assert store.check() == []
    harm(store, run_dir)
    found = [finding for finding in store.check() if words in finding.what]
    assert [finding.severity for finding in found] == [severity]
    assert all(finding.next for finding in found)
