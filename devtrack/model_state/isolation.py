"""One context manager: an observer leaves no trace.

Training must be bitwise the same with and without devtrack. A metric may draw random numbers,
switch gradients off, change the number of threads or raise. All process-wide state that such code
can reach is restored by ``isolated``. The model is protected by other means: metrics
get a private copy of it, never the one that trains (``evaluate``).
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch

from devtrack.model_state._collectives import no_collectives, plain_checkpoints
from devtrack.model_state._process_settings import put_back, take_settings


class Streams(NamedTuple):
    """The state of every random stream of the process; of a device that is not in use, None."""

    python: Any
    numpy: Any
    torch: torch.Tensor
    cuda: list[torch.Tensor] | None
    mps: torch.Tensor | None


@contextmanager
def isolated(*, seed: int | None = None, streams: Streams | None = None) -> Iterator[None]:
    """Run a block and put the process-wide state back afterwards, whether or not it raised.

    Covers the random streams of Python, NumPy and torch (CPU and every initialised accelerator),
    autocast, and all settings of ``process_settings``. Inside, three things are switched off.
    ``nn.TransformerEncoder`` has no fast path. That path is used without gradients only and sets
    padded positions to zero. Metrics would measure another function than the one that trains.
    Collectives raise: only one rank is in the block, and would wait for the others.
    Reentrant activation checkpoints keep their activations (see ``plain_checkpoints``).

    Args:
        seed: Seeds the random streams inside the block, so that code which draws from them gives
            the same numbers each time. None leaves the streams as they are.
        streams: Where the random streams stand inside the block instead, from ``take_streams``.

    Example:
        >>> before = torch.random.get_rng_state()
        >>> with isolated():
        ...     _ = torch.rand(3)
        >>> torch.equal(before, torch.random.get_rng_state())
        True
    """
    before, settings = take_streams(), take_settings()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with ExitStack() as stack:
            stack.enter_context(torch.autocast("cpu", enabled=False))
            if torch.cuda.is_available():
                stack.enter_context(torch.autocast("cuda", enabled=False))
            stack.enter_context(no_collectives())
            stack.enter_context(plain_checkpoints())
            if seed is not None:
                seed_streams(seed)
            if streams is not None:
                put_streams(streams)
            yield
    finally:
        put_back(settings)
        put_streams(before)


def seed_streams(seed: int) -> None:
    """Seed the global streams, which a metric's own code may draw from.

    Only for the inside of ``isolated``, which puts them back.

    Args:
        seed: Below 2³², as NumPy wants.
    """
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - put back when the block ends
    # Not torch.manual_seed: without a CUDA context it would queue a seeding for later.
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)


def take_streams() -> Streams:
    """Return where the random streams stand."""
    return Streams(
        random.getstate(),
        np.random.get_state(),  # noqa: NPY002 - the legacy stream is what we protect
        torch.random.get_rng_state(),
        # A process that has not touched CUDA has no stream to lose, and asking starts a context.
        torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None,
        torch.mps.get_rng_state() if torch.backends.mps.is_available() else None,
    )


def put_streams(streams: Streams) -> None:
    """Put the random streams where they stood."""
    random.setstate(streams.python)
    np.random.set_state(streams.numpy)  # noqa: NPY002 - as above
    torch.random.set_rng_state(streams.torch)
    if streams.cuda is not None:
        torch.cuda.set_rng_state_all(streams.cuda)
    if streams.mps is not None:
        torch.mps.set_rng_state(streams.mps)
