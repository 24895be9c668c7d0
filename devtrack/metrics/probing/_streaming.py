"""Activations that come in chunks of bounded memory, as often as they are asked for."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from devtrack.metrics._activations import flat_features, forward_passes
from devtrack.metrics.metric import Subject

Chunk = tuple[slice, npt.NDArray[np.float32]]


class Chunks:
    """The activations at one site, (row, unit), a row for each label.

    At most one chunk is held, in a buffer that the next one overwrites. Looking at all of them
    again costs the forward passes again, unless there is but one.

    Args:
        subject: Whose model and loss.
        batches: What to run it on.
        site: Module path.
        target: Maps a batch to labels, one per sample, or one per position.
        num_rows: Labels in all batches.
        max_chunk_bytes: A chunk takes no more; chunks are of equal length.
    """

    def __init__(
        self,
        subject: Subject,
        batches: list[Any],
        site: str,
        target: Callable[[Any], torch.Tensor],
        *,
        num_rows: int,
        max_chunk_bytes: int,
    ) -> None:
        self._subject, self._batches, self._site, self._target = subject, batches, site, target
        self._num_rows, self._max_chunk_bytes = num_rows, max_chunk_bytes
        self._buffer = np.empty((0, 0), dtype=np.float32)
        self._holds_all = False

    def __iter__(self) -> Iterator[Chunk]:
        """Yield which rows, and their activations."""
        if self._holds_all:
            yield slice(0, self._num_rows), self._buffer
            return
        start = filled = 0
        for batch, outputs in forward_passes(
            self._subject.model, self._batches, [self._site], self._subject.loss
        ):
            x = flat_features(outputs[self._site], self._target(batch), self._site)
            if not len(self._buffer):
                self._buffer = self._empty(x.shape[1])
            taken = 0
            while taken < len(x):
                part = x[taken : taken + len(self._buffer) - filled]
                torch.from_numpy(self._buffer[filled : filled + len(part)]).copy_(part)
                taken, filled = taken + len(part), filled + len(part)
                if filled == len(self._buffer):
                    yield slice(start, start + filled), self._buffer
                    start, filled = start + filled, 0
        if filled:
            yield slice(start, start + filled), self._buffer[:filled]
        self._holds_all = self.num_chunks == 1

    @property
    def num_chunks(self) -> int:
        """How many there are; known once the first was seen."""
        return math.ceil(self._num_rows / len(self._buffer))

    def _empty(self, num_units: int) -> npt.NDArray[np.float32]:
        at_once = max(1, self._max_chunk_bytes // (4 * num_units))
        length = math.ceil(self._num_rows / math.ceil(self._num_rows / at_once))
        return np.empty((length, num_units), dtype=np.float32)
