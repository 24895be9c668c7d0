"""Groups of chains on their way: what they meet, group after group or all abreast."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from devtrack.sampling._recording_schedule import RecordingSchedule
from devtrack.sampling._vectorized_chains import ChainGroup, ChainState, Indices, StepRecord

Floats = npt.NDArray[np.floating]


class ChainHistory(NamedTuple):
    """What chains have met and seen; NaN: not yet, or the chain is lost.

    Shapes:
        Those of ``record``: (chain, step). full_loss and those of ``states``: (chain, look).
    """

    record: StepRecord
    full_loss: Floats
    states: ChainState

    def until(self, observe: int, step: int) -> ChainHistory:
        """Return the part up to a number of looks and of steps."""
        record = StepRecord(*(values[:, :step] for values in self.record))
        states = ChainState(*(values[:, :observe] for values in self.states))
        return ChainHistory(record, self.full_loss[:, :observe], states)


def run_chains(
    groups: Sequence[Callable[[], ChainGroup]],
    order: Indices,
    *,
    schedule: RecordingSchedule,
    gradient: torch.Tensor,
    should_stop: Callable[[ChainHistory], bool],
) -> ChainHistory:
    """Let chains walk and return what they met.

    Without checks one group walks after another, so that no two take memory at once. With checks
    they walk abreast, since the answer depends on all of them.

    Args:
        groups: Makers of the groups, in the order of their chains.
        order: The batch of every step, (chain, step).
        schedule: When to look, and when to ask.
        gradient: ∇L(w*), (parameter,).
        should_stop: Says whether what was met so far is enough; asked at the pace's checks.
    """
    num_chains, num_evaluations = len(order), len(schedule.evaluations)
    full_loss, *states = np.full((1 + len(ChainState._fields), num_chains, num_evaluations), np.nan)
    history = ChainHistory(
        StepRecord(*np.full((2, *order.shape), np.nan)), full_loss, ChainState(*states)
    )
    members = np.array_split(np.arange(num_chains), len(groups))
    runs = [
        _run_group(
            make, order, history, slice(own[0], own[-1] + 1), schedule=schedule, gradient=gradient
        )
        for make, own in zip(groups, members, strict=True)
    ]
    if not schedule.stop_checks:
        for one in runs:
            for _ in one:
                pass
        return history
    for observe, step in enumerate(schedule.evaluations, start=1):
        for one in runs:
            next(one, None)
        if observe in schedule.stop_checks and should_stop(history.until(observe, step)):
            return history.until(observe, step)
    return history


def _run_group(
    make_group: Callable[[], ChainGroup],
    order: Indices,
    history: ChainHistory,
    own: slice,
    *,
    schedule: RecordingSchedule,
    gradient: torch.Tensor,
) -> Iterator[None]:
    """Write what a group meets into its rows of ``history``; pause after every look."""
    group = make_group()
    for observe, (start, stop) in enumerate(pairwise([0, *schedule.evaluations])):
        for kept, now in zip(history.record, group.advance(order[own, start:stop]), strict=True):
            kept[own, start:stop] = now
        for kept, now in zip(history.states, group.observe(gradient), strict=True):
            kept[own, observe] = now
        if not np.isfinite(history.states.squared_distance[own, observe]).any():
            return  # no chain left to follow: the rest stays NaN
        if schedule.full_batches > 1:
            history.full_loss[own, observe] = group.full_losses(schedule.full_batches)
        yield
