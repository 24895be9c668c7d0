"""The first batch of a stream, kept in its run's folder.

A stream gives other data after a resume, and numbers taken on different data cannot be compared
along a run: a resumed training is measured on the batch that its run began with.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch

from devtrack.rows import Event
from devtrack.store.files import make_dirs, write_atomically

FILE = "first_batch.pt"


def of_run(
    run_dir: Path, batch: Any, *, is_new: bool, device: torch.device
) -> tuple[Any, list[Event]]:
    """Return the batch to measure a run on, and what there is to say about it.

    Only tensors, numbers, text and plain containers of them are read back: a store may come from
    others, and unpickling anything else can run code.

    Args:
        run_dir: The run's folder.
        batch: The first one of this training: a new run is measured on it and keeps it, a resumed
            one only where its own cannot be read, with an event ``evalset_change``.
        is_new: No resumed run.
        device: Where a batch that was kept is wanted.
    """
    if is_new:
        return batch, _keep(run_dir, batch)
    try:
        return torch.load(run_dir / FILE, map_location=device, weights_only=True), []
    except Exception as error:  # noqa: BLE001 - missing, damaged, of another kind: each has its own
        because = f"the batch that the run began with cannot be read ({type(error).__name__})"
        return batch, [Event("evalset_change", f"measured on other data from here on: {because}")]


def _keep(run_dir: Path, batch: Any) -> list[Event]:
    content = io.BytesIO()
    try:
        torch.save(batch, content)
        make_dirs(run_dir)
        write_atomically(run_dir / FILE, content.getvalue())
    except Exception as error:  # noqa: BLE001 - items of the user's own may refuse in any way
        message = f"{error}: after a resume, the run will be measured on other data"
        return [Event("first_batch_failed", message)]
    return []
