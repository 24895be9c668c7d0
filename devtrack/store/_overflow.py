"""Segments that had to be written elsewhere come home."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from devtrack.store._atomic_files import make_dirs, publish, remove_quietly, temporary_name
from devtrack.store._layout import SEGMENTS_DIR, is_run_id, parse_segment_name


def spill_dir(root: Path, run_dir: Path) -> Path:
    """Return the folder for a run's rows while its store cannot be written.

    Args:
        root: Usually the system's temporary directory, which all stores share.
        run_dir: The run's folder, absolute: another store may hold a run of the same id.
    """
    place = hashlib.sha256(str(run_dir).encode()).hexdigest()[:8]
    return root / f"devtrack-spill-{run_dir.name}-{place}"


def move_in(source: Path, target: Path) -> None:
    """Commit a copy of a segment and remove the original.

    Raises:
        OSError: The original is still there.
    """
    make_dirs(target.parent)
    temporary = temporary_name(target)
    try:
        shutil.copyfile(source, temporary)
        publish(temporary, target)
    except BaseException:
        remove_quietly(temporary)
        raise
    remove_quietly(source)


def spilled_segments(folder: Path) -> list[Path]:
    """Return the segments of a spill folder, which has the store's own layout."""
    return [
        path
        for path in sorted(folder.glob(f"*/{SEGMENTS_DIR}/*/*.parquet"))
        if parse_segment_name(path.name) and is_run_id(path.parents[2].name)
    ]


def adopt(store: Path, folder: Path) -> int:
    """Move the segments of a spill folder into the store, and return how many there were.

    Raises:
        OSError: Those not yet moved are still in the folder.
    """
    segments = spilled_segments(folder)
    for source in segments:
        move_in(source, store / source.relative_to(folder))
    shutil.rmtree(folder, ignore_errors=True)
    return len(segments)
