"""The command line that the studies share: which store, which run or runs, where to write."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from devtrack import open_store
from devtrack.errors import DevtrackError, UnknownRunError
from devtrack.records import RunInfo
from devtrack.store import Store

Study = Callable[[Store, RunInfo, Path], bool]
"""Prints its findings, writes pictures into a folder, and says whether it found anything."""

Comparison = Callable[[Store, list[RunInfo], argparse.Namespace], bool]
"""The same over several runs; the namespace holds ``out`` and the study's own options."""


def run_study(study: Study, *, question: str, arguments: Sequence[str] | None = None) -> int:
    """Run a study on what the command line names and return its exit code.

    Returns:
        0 done, 1 our error in one line, 3 nothing found; wrong usage leaves with 2.
    """
    parser = _parser(question)
    parser.add_argument("--run", help="run id or name (default: the newest run)")
    given = parser.parse_args(arguments)

    def answer(store: Store) -> bool:
        info = store.run(given.run)
        given.out.mkdir(parents=True, exist_ok=True)
        return study(store, info, given.out)

    return _exit_code(parser, given, answer)


def run_comparison(
    study: Comparison,
    *,
    question: str,
    arguments: Sequence[str] | None = None,
    options: Callable[[argparse.ArgumentParser], object] = lambda parser: None,
) -> int:
    """Run a study of several runs and return its exit code, as ``run_study`` does.

    Args:
        study: The study.
        question: What it answers.
        arguments: The command line; the process's own if None.
        options: Adds the study's own options.
    """
    parser = _parser(question)
    parser.add_argument(
        "--runs",
        nargs="+",
        default=["*"],
        help="run ids, names or globs such as 'grokking-*' (default: all runs)",
    )
    options(parser)
    given = parser.parse_args(arguments)

    def answer(store: Store) -> bool:
        runs = _matching(store, given.runs)
        given.out.mkdir(parents=True, exist_ok=True)
        return study(store, runs, given)

    return _exit_code(parser, given, answer)


def _parser(question: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=question.partition("\n")[0])
    parser.add_argument("--store", default="runs", help="folder of the store (default: runs)")
    parser.add_argument("--out", default=Path(), type=Path, help="folder for pictures (default: .)")
    return parser


def _matching(store: Store, globs: Sequence[str]) -> list[RunInfo]:
    runs = store.runs()
    for glob in globs:
        if not any(_answers(info, glob) for info in runs):
            raise UnknownRunError(
                f"runs {glob!r}: matches none of the {len(runs)} runs in {store.path}. Pass ids, "
                "names or globs of runs that `devtrack runs` lists."
            )
    return [info for info in runs if any(_answers(info, glob) for glob in globs)]


def _answers(info: RunInfo, glob: str) -> bool:
    return fnmatchcase(info.run_id, glob) or fnmatchcase(info.name, glob)


def _exit_code(
    parser: argparse.ArgumentParser, given: argparse.Namespace, answer: Callable[[Store], bool]
) -> int:
    try:
        return 0 if answer(open_store(given.store)) else 3
    except (DevtrackError, OSError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
