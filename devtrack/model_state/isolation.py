"""One context manager: an observer leaves no trace.

Training must be bitwise the same with and without devtrack. A metric may draw random numbers,
switch gradients off, change the number of threads or raise in the middle; ``isolated`` puts every
process-wide state back that such code can reach. The model is protected by other means: metrics
get a private copy of it, never the one that trains (``evaluate``).
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch


@contextmanager
def isolated(*, seed: int | None = None) -> Iterator[None]:
    """Run a block and put the process-wide state back afterwards, whether or not it raised.

    Covers the random streams of Python, NumPy and torch (CPU and every initialised accelerator),
    gradient mode, autocast, default dtype, thread count, float32 matmul precision, and the
    determinism and cuDNN flags. Inside, ``nn.TransformerEncoder`` has no fast path: that one is
    taken without gradients only and sets padded positions to zero, so that metrics would measure
    another function than the one that trains.

    Args:
        seed: Seeds the random streams inside the block, so that code which draws from them gives
            the same numbers each time; None leaves them where they are.

    Example:
        >>> before = torch.random.get_rng_state()
        >>> with isolated():
        ...     _ = torch.rand(3)
        >>> torch.equal(before, torch.random.get_rng_state())
        True
    """
    with ExitStack() as stack:
        stack.enter_context(_random_streams())
        stack.enter_context(_torch_settings())
        stack.enter_context(torch.autocast("cpu", enabled=False))
        if torch.cuda.is_available():
            stack.enter_context(torch.autocast("cuda", enabled=False))
        if seed is not None:
            seed_streams(seed)
        yield


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


@contextmanager
def _random_streams() -> Iterator[None]:
    python_state = random.getstate()
    numpy_state = np.random.get_state()  # noqa: NPY002 - the legacy stream is what we protect
    torch_state = torch.random.get_rng_state()
    # A process that has not touched CUDA has no stream to lose, and asking would start a context.
    cuda_states = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    mps_state = torch.mps.get_rng_state() if torch.backends.mps.is_available() else None
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)  # noqa: NPY002 - as above
        torch.random.set_rng_state(torch_state)
        if cuda_states is not None:
            torch.cuda.set_rng_state_all(cuda_states)
        if mps_state is not None:
            torch.mps.set_rng_state(mps_state)


@contextmanager
def _torch_settings() -> Iterator[None]:
    grad_enabled = torch.is_grad_enabled()
    dtype = torch.get_default_dtype()
    num_threads = torch.get_num_threads()
    matmul_precision = torch.get_float32_matmul_precision()
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark = torch.backends.cudnn.benchmark
    cudnn_deterministic = torch.backends.cudnn.deterministic
    fast_attention = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.set_grad_enabled(grad_enabled)
        torch.set_default_dtype(dtype)
        if torch.get_num_threads() != num_threads:
            torch.set_num_threads(num_threads)
        if torch.get_float32_matmul_precision() != matmul_precision:
            torch.set_float32_matmul_precision(matmul_precision)
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        torch.backends.cudnn.benchmark = benchmark
        torch.backends.cudnn.deterministic = cudnn_deterministic
        torch.backends.mha.set_fastpath_enabled(fast_attention)
