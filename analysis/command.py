"""The command line that the studies share: which store, which run, where to write."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from devtrack import open_store
from devtrack.errors import DevtrackError
from devtrack.rows import RunInfo
from devtrack.store import Store

Study = Callable[[Store, RunInfo, Path], bool]
"""Prints its findings, writes pictures into a folder, and says whether it found anything."""


def run_study(study: Study, *, question: str, arguments: Sequence[str] | None = None) -> int:
    """Run a study on what the command line names and return its exit code.

    Returns:
        0 done, 1 our error in one line, 3 nothing found; wrong usage leaves with 2.
    """
    parser = argparse.ArgumentParser(description=question.partition("\n")[0])
    parser.add_argument("--store", default="runs", help="folder of the store (default: runs)")
    parser.add_argument("--run", help="run id or name (default: the newest run)")
    parser.add_argument("--out", default=Path(), type=Path, help="folder for pictures (default: .)")
    given = parser.parse_args(arguments)
    try:
        store = open_store(given.store)
        info = store.run(given.run)
        given.out.mkdir(parents=True, exist_ok=True)
        found = study(store, info, given.out)
    except (DevtrackError, OSError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    return 0 if found else 3
