"""Several processes, one of which measures: the others wait for it, however long it takes.

Without this they would wait in the next step's collective, whose time-out kills the training as
soon as an observation takes longer.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

PATIENCE = timedelta(days=30)  # the processes of a training end each other's wait by ending


class Ranks:
    """Meetings of all ranks in a process group of their own, at which rank 0 arrives last.

    Every rank must be at every meeting. Whether there is one follows from the schedule, which all
    ranks know, and from what rank 0 said at the last one.

    Args:
        world_size: Number of processes; with one, nothing waits for anything.
    """

    def __init__(self, world_size: int) -> None:
        ready = world_size > 1 and dist.is_available() and dist.is_initialized()
        self._group: Any = dist.new_group(backend="gloo", timeout=PATIENCE) if ready else None

    def meet(self, again: bool) -> bool:
        """Wait for rank 0; return whether all meet again at the end of the next batch.

        Args:
            again: What rank 0 says; ignored on the others.
        """
        if self._group is None:
            return again
        said = torch.tensor([int(again)])
        dist.broadcast(said, src=0, group=self._group)
        return bool(said.item())
