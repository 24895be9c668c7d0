"""Choose the engine: all chains at once where vmap allows it, else one after another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import numpy as np
import torch

from devtrack.errors import ConfigError
from devtrack.sampling._baseline import TOLERANCE, Baseline
from devtrack.sampling._objective import Objective
from devtrack.sampling._vectorized_chains import (
    ChainGroup,
    SequentialChain,
    VectorizedChains,
    quiet_vmap,
)
from devtrack.sampling.chain_record import Floats
from devtrack.sampling.config import Method, SamplerConfig
from devtrack.sampling.kernels import build_kernel, kernel_class

Engine = Literal["auto", "vectorized", "sequential", "reference"]

ARRAYS_PER_CHAIN = 9
"""Copies of the weights that a chain needs at once. They are the position, the gradient and the two
before it, the noise, the kernel's state and temporaries, views, and gradients of the views."""

LARGE_CHAIN_BYTES = 10e6
"""Bytes of weights and activations of a step from which a CPU runs chains one after another. One
chain then has enough arithmetic to hide the overhead of its calls. Fitted on the attention models
of ``experiments.bench.tasks``; the timings stand in ``docs/notes/sampling.md``."""


def require_engine(engine: str, method: Method) -> None:
    """Refuse an unknown engine, and the reference engine for kernels that devinterp lacks.

    Raises:
        ConfigError: If ``engine`` is none of ``Engine``, or does not have ``method``.
    """
    if engine == "reference" and not kernel_class(method).reference_supported:
        raise ConfigError(
            "engine='reference': devinterp knows 'sgld' and 'rmsprop_sgld', not "
            f"method={method!r}. Use engine='auto', or method='sgld'."
        )
    if engine not in ("auto", "vectorized", "sequential", "reference"):
        raise ConfigError(
            f"engine={engine!r}: must be 'auto', 'vectorized', 'sequential' or 'reference'. "
            "Use engine='auto'."
        )


def choose_engine(engine: Engine, objective: Objective, baseline: Baseline) -> tuple[str, str]:
    """Return the engine to run, and a note on the reason and on random numbers, or an empty one.

    Args:
        engine: The engine asked for.
        objective: The loss.
        baseline: L(w*), computed without vmap.

    Raises:
        ConfigError: If vectorized was asked for and vmap refuses the model.
    """
    if engine in ("sequential", "reference"):
        return engine, baseline.note
    if engine == "auto" and _is_large(objective):
        return "sequential", baseline.note
    obstacle = baseline.note or _obstacle_to_vmap(objective, baseline.losses)
    if not obstacle:
        return "vectorized", ""
    if engine == "vectorized":
        raise ConfigError(
            f"engine='vectorized': this model cannot run under torch.func.vmap ({obstacle}). "
            "Use engine='auto', which runs such chains one after another."
        )
    return "sequential", f"chains ran one after another: {obstacle}"


def build_groups(
    engine: str,
    objective: Objective,
    config: SamplerConfig,
    *,
    n_beta: float,
    seeds: Sequence[int],
    max_memory_bytes: int | None = None,
) -> list[Callable[[], ChainGroup]]:
    """Return makers of the groups of chains at w*, split as ``numpy.array_split`` does.

    A group is made when its turn comes, so no two take memory at once.

    Args:
        engine: From ``choose_engine``.
        objective: The loss.
        config: The sampler's hyperparameters.
        n_beta: Inverse temperature nβ.
        seeds: One per chain.
        max_memory_bytes: Memory of a group; None puts all chains into one. A single chain may
            always run, so a model that fits once can be sampled.
    """
    device = objective.anchor.device
    generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]
    num_groups = len(generators)
    make: Callable[[list[torch.Generator]], ChainGroup]
    if engine == "vectorized":
        num_groups = _num_groups(objective, len(generators), max_memory_bytes)
        make = lambda group: VectorizedChains(  # noqa: E731 - three one-line makers side by side
            objective, build_kernel(config, n_beta=n_beta), generators=group
        )
    elif engine == "sequential":
        make = lambda group: SequentialChain(  # noqa: E731
            objective, build_kernel(config, n_beta=n_beta), generators=group
        )
    else:
        from devtrack.sampling._devinterp_chains import DevinterpChain

        make = lambda group: DevinterpChain(  # noqa: E731
            objective, config, n_beta=n_beta, generator=group[0]
        )
    members = np.array_split(np.arange(len(generators)), num_groups)
    return [partial(make, [generators[chain] for chain in group]) for group in members]


def _num_groups(objective: Objective, num_chains: int, max_memory_bytes: int | None) -> int:
    if max_memory_bytes is None:
        return 1
    weights = objective.anchor.numel() * objective.anchor.element_size()
    one_chain = ARRAYS_PER_CHAIN * weights + objective.saved_bytes()
    largest = max(1, int(max_memory_bytes // one_chain))
    return -(-num_chains // largest)


def _is_large(objective: Objective) -> bool:
    anchor = objective.anchor
    on_cpu = anchor.device.type == "cpu"
    weights = anchor.numel() * anchor.element_size()
    return on_cpu and weights + objective.saved_bytes() > LARGE_CHAIN_BYTES


def _obstacle_to_vmap(objective: Objective, at_anchor: Floats) -> str:
    """Try every batch under vmap, with two chains at w*; return what failed, or an empty text.

    Under vmap the loss receives the batch alone, without extra arguments such as its index. A loss
    that depends on them differs there, so values are compared too.
    """
    if objective.num_batches > 1 and not objective.can_mix_batches:
        return "batches differ in shape"
    weights = objective.anchor.repeat(2, 1)
    last, tolerance = objective.num_batches - 1, TOLERANCE[objective.precision]
    for first in range(0, objective.num_batches, 2):
        tried = [first, min(first + 1, last)]
        batches = torch.tensor(tried, device=weights.device)
        try:
            with quiet_vmap():
                losses = objective.gradients(weights, batches, out=torch.empty_like(weights))
        except Exception as error:  # noqa: BLE001 - the plain path has computed this loss
            return f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200]}"
        expected = at_anchor[tried]
        if not np.allclose(losses.cpu(), expected, rtol=tolerance, equal_nan=True):
            return f"the loss under vmap was {losses.tolist()} instead of {expected.tolist()}"
    return ""
