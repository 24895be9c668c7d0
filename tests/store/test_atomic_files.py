import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from devtrack.records import Event, Row, RunInfo, TrainingProgress
from devtrack.store import Store
from devtrack.store import _atomic_files as files


def test_a_failed_write_leaves_the_old_file_and_no_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.json"
    files.write_atomically(path, b"old")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(files, "publish", fail)
    with pytest.raises(OSError, match="disk full"):
        files.write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("links", [True, False])
def test_one_of_many_creates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool) -> None:
    if not links:

        def refuse(*_: object) -> None:
            raise OSError("no links here")

        monkeypatch.setattr(files.os, "link", refuse)
    path = tmp_path / "claim"
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda k: files.create_exclusively(path, b"%d" % k), range(8)))
    assert sum(won) == 1
    assert path.read_bytes() == b"%d" % won.index(True)
    assert list(tmp_path.iterdir()) == [path]


class Disk:
    """Notes what is made durable, and when a file gets its name: a power cut in a test.

    Args:
        patch: Puts the functions of ``os`` back after the test.

    Attributes:
        calls: ("fsync", file) or ("name", file, folder), files and folders by inode.
    """

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[str | int, ...]] = []
        fsync = os.fsync

        def note_fsync(descriptor: int) -> None:
            fsync(descriptor)
            self.calls.append(("fsync", os.fstat(descriptor).st_ino))

        patch.setattr(os, "fsync", note_fsync)
        for name in ("replace", "rename", "link"):
            patch.setattr(os, name, self._noted(getattr(os, name)))

    def _noted(self, real: Callable[..., None]) -> Callable[..., None]:
        def name(source: Path, target: Path, **options: object) -> None:
            real(source, target, **options)
            path = Path(target)
            if path.is_file():
                self.calls.append(("name", path.stat().st_ino, path.parent.stat().st_ino))

        return name

    def require_durable(self, path: Path) -> None:
        """Ask that a file's content was on disk before its name, and then its name."""
        file, folder = path.stat().st_ino, path.parent.stat().st_ino
        assert ("name", file, folder) in self.calls, f"{path}: not named by a rename or a link"
        named = self.calls.index(("name", file, folder))
        assert ("fsync", file) in self.calls[:named], f"{path}: named before it was on disk"
        assert ("fsync", folder) in self.calls[named:], f"{path}: its name may be lost"


def test_a_segment_is_on_disk_before_it_has_its_name_and_its_name_thereafter(
    store: Store, info: Callable[..., RunInfo], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a file that a power cut emptied stands under the name of a whole one."""
    disk = Disk(monkeypatch)
    with store.writer(info()) as writer:
        for step in range(3):
            writer.append(TrainingProgress(step), [Row("a", float(step)), Event("b")])
            writer.flush()
        written = _segments(writer.run_dir)
        assert len(written) == 6
        for path in written:
            disk.require_durable(path)
    store.compact(grace_s=0.0)
    compacted = _segments(writer.run_dir)
    assert len(compacted) == 2
    for path in compacted:
        disk.require_durable(path)


def _segments(run_dir: Path) -> list[Path]:
    return list((run_dir / "segments").rglob("*.parquet"))


@pytest.mark.parametrize("write", [files.write_atomically, files.create_exclusively])
def test_a_small_file_is_on_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path, bytes], object]
) -> None:
    disk = Disk(monkeypatch)
    write(tmp_path / "x.json", b"content")
    disk.require_durable(tmp_path / "x.json")
