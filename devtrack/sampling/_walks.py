"""Groups of chains on their way: what they meet, group after group or all abreast."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from devtrack.sampling._recording_schedule import Pace
from devtrack.sampling._vectorized_chains import Indices, Look, Met, Walkers

Floats = npt.NDArray[np.floating]


class Walked(NamedTuple):
    """What chains have met and seen; NaN: not yet, or the chain is lost.

    Shapes:
        Those of ``met``: (chain, step). full_loss and those of ``seen``: (chain, look).
    """

    met: Met
    full_loss: Floats
    seen: Look

    def until(self, look: int, step: int) -> Walked:
        """Return the part up to a number of looks and of steps."""
        met = Met(*(values[:, :step] for values in self.met))
        seen = Look(*(values[:, :look] for values in self.seen))
        return Walked(met, self.full_loss[:, :look], seen)


def walk(
    groups: Sequence[Callable[[], Walkers]],
    order: Indices,
    *,
    pace: Pace,
    gradient: torch.Tensor,
    enough: Callable[[Walked], bool],
) -> Walked:
    """Let chains walk and return what they met.

    Without checks one group walks after another, so that no two take memory at once. With checks
    they walk abreast, since the answer depends on all of them.

    Args:
        groups: Makers of the groups, in the order of their chains.
        order: The batch of every step, (chain, step).
        pace: When to look, and when to ask.
        gradient: ∇L(w*), (parameter,).
        enough: Says whether what was met so far is enough; asked at the pace's checks.
    """
    num_chains, num_looks = len(order), len(pace.looks)
    full_loss, *seen = np.full((1 + len(Look._fields), num_chains, num_looks), np.nan)
    walked = Walked(Met(*np.full((2, *order.shape), np.nan)), full_loss, Look(*seen))
    members = np.array_split(np.arange(num_chains), len(groups))
    walks = [
        _walk_group(make, order, walked, slice(own[0], own[-1] + 1), pace=pace, gradient=gradient)
        for make, own in zip(groups, members, strict=True)
    ]
    if not pace.checks:
        for one in walks:
            for _ in one:
                pass
        return walked
    for look, step in enumerate(pace.looks, start=1):
        for one in walks:
            next(one, None)
        if look in pace.checks and enough(walked.until(look, step)):
            return walked.until(look, step)
    return walked


def _walk_group(
    make_group: Callable[[], Walkers],
    order: Indices,
    walked: Walked,
    own: slice,
    *,
    pace: Pace,
    gradient: torch.Tensor,
) -> Iterator[None]:
    """Write what a group meets into its rows of ``walked``; pause after every look."""
    group = make_group()
    for look, (start, stop) in enumerate(pairwise([0, *pace.looks])):
        for kept, now in zip(walked.met, group.advance(order[own, start:stop]), strict=True):
            kept[own, start:stop] = now
        for kept, now in zip(walked.seen, group.look(gradient), strict=True):
            kept[own, look] = now
        if not np.isfinite(walked.seen.squared_distance[own, look]).any():
            return  # no chain left to follow: the rest stays NaN
        if pace.full_batches > 1:
            walked.full_loss[own, look] = group.full_losses(pace.full_batches)
        yield
