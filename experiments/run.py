"""What every experiment does: read its command line, train under observation, draw and tell."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch.utils.data import DataLoader, Dataset

from devtrack import Store, Tracker, find_transitions, open_store, plots
from devtrack.cli._demo_training import quiet_lightning
from devtrack.cli._output import print_table
from devtrack.cli.transitions import write_transitions
from devtrack.series import Transition


def options(doc: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options that all experiments have; add your own.

    Args:
        doc: The experiment's docstring: its first line becomes the help.
    """
    parser = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    parser.add_argument("--store", default="runs", help="folder of the store (default: runs)")
    parser.add_argument("--seed", default=0, type=int, help="of data and weights (default: 0)")
    parser.add_argument("--smoke", action="store_true", help="a few steps only, to see it work")
    return parser


class Batches(Dataset[Any]):
    """The batches of a training, made one by one: ``make(i)`` is the batch of step i.

    Args:
        make: Returns a batch. The same every time for full-batch training.
        num: How many.
    """

    def __init__(self, make: Callable[[int], Any], num: int) -> None:
        self._make, self._num = make, num

    def __len__(self) -> int:
        return self._num

    def __getitem__(self, index: int) -> Any:
        return self._make(index)


def train(
    build: Callable[[], LightningModule],
    batches: Batches,
    *,
    tracker: Tracker,
    seed: int,
    accelerator: str = "cpu",
) -> LightningModule:
    """Train, one step per batch, and return the module.

    Args:
        build: Makes the module from torch's default generator, which is seeded for it and put back.
        batches: One batch per step.
        tracker: Observes.
        seed: Of the initial weights.
        accelerator: Lightning's word for what to train on.
    """
    with quiet_lightning(), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        module = build()
        trainer = Trainer(
            max_steps=len(batches),
            accelerator=accelerator,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[tracker],
        )
        trainer.fit(module, DataLoader(batches, batch_size=None))
    return module


def conclude(
    store: str | Path,
    run_id: str,
    *,
    left_out: Sequence[str] = (),
    drawn: Sequence[str] | None = None,
) -> list[Transition]:
    """Find the run's transitions, print them, and draw its timeline beside the store.

    Args:
        store: The store.
        run_id: The run.
        left_out: Metrics in which no transition is looked for: those known by calculation.
        drawn: Globs of the metrics that are in the picture; all if None.
    """
    opened = open_store(store)
    info = opened.run(run_id)
    looked_at = [name for name in _measured(opened, run_id) if name not in left_out]
    found = find_transitions(opened, run_id, metrics=looked_at)
    print(f"\ntransitions of run {run_id}")
    write_transitions(found)
    picture = opened.path.parent / f"{info.name}.png"
    plots.timeline(opened, run_id, metrics=drawn).savefig(picture, dpi=150)
    print(f"\npicture: {picture}")
    return found


def show(title: str, columns: Sequence[str], lines: Sequence[Sequence[Any]]) -> None:
    """Print a table."""
    print(f"\n{title}")
    if not print_table(columns, lines):
        print("(nothing)")


def rows_of(
    store: str | Path, run_id: str, metric: str, *, site: str = "model"
) -> list[tuple[int, float, float, str]]:
    """Return (step, value, se, status) of a metric along a run; NaN where there is no number."""
    found = open_store(store).sql(
        "SELECT step, coalesce(value, 'nan'), coalesce(se, 'nan'), status FROM metrics "
        "WHERE run_id = ? AND metric = ? AND site = ? ORDER BY step",
        [run_id, metric, site],
    )
    return found.fetchall()


def _measured(store: Store, run_id: str) -> list[str]:
    query = "SELECT DISTINCT metric FROM metrics WHERE run_id = ? ORDER BY metric"
    return [name for (name,) in store.sql(query, [run_id]).fetchall()]
