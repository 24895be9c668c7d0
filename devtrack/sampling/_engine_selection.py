"""Which engine runs the chains: all at once where vmap allows it, else one after another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import numpy as np
import numpy.typing as npt
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
from devtrack.sampling.config import SamplerConfig
from devtrack.sampling.kernels import build_kernel

Engine = Literal["auto", "vectorized", "sequential", "reference"]
Floats = npt.NDArray[np.floating]

ARRAYS_PER_CHAIN = 9
"""Copies of the weights that a chain needs at once: position, gradient and the two before, noise,
the update's memory and its temporaries, views and their gradients in the backward pass."""

LARGE_CHAIN_BYTES = 10e6
"""Weights and activations of a step from which a CPU takes chains one after another: there is
arithmetic enough in one to hide its calls, and several share the cache. Attention models of
``experiments.bench.tasks``, ms per step and chain, all at once and alone: 12 MB 30.9 and 26.6,
42 MB 179 and 162; but 4 MB 7.6 and 8.2."""


def require_engine(engine: str, method: str) -> None:
    """Refuse an unknown engine, and the reference for what devinterp does not have.

    Raises:
        ConfigError: If ``engine`` is none of ``Engine``, or does not know ``method``.
    """
    if engine == "reference" and method == "lm_sgld":
        raise ConfigError(
            "engine='reference': devinterp knows 'sgld' and 'rmsprop_sgld', not method='lm_sgld'. "
            "Use engine='auto', or method='sgld'."
        )
    if engine not in ("auto", "vectorized", "sequential", "reference"):
        raise ConfigError(
            f"engine={engine!r}: must be 'auto', 'vectorized', 'sequential' or 'reference'. "
            "Use engine='auto'."
        )


def choose_engine(engine: Engine, objective: Objective, baseline: Baseline) -> tuple[str, str]:
    """Return the engine to run, and a note on why and on random numbers where there is one.

    Args:
        engine: What was asked for.
        objective: The loss.
        baseline: L(w*), without vmap.

    Raises:
        ConfigError: If vectorized was asked for and the model cannot run so.
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
    """Return what makes the groups of chains, at w*, split as ``numpy.array_split`` does.

    A group is made when its turn comes, so that no two take memory at once.

    Args:
        engine: From ``choose_engine``.
        objective: The loss.
        config: The sampler's settings.
        n_beta: Inverse temperature nβ.
        seeds: One per chain.
        max_memory_bytes: What a group may take; None puts all into one. A single chain may always
            run, so that a model that fits once can be sampled.
    """
    device = objective.anchor.device
    generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]
    num_groups = len(generators)
    make: Callable[[list[torch.Generator]], ChainGroup]
    if engine == "vectorized":
        num_groups = _num_groups(objective, len(generators), max_memory_bytes)
        make = lambda own: VectorizedChains(  # noqa: E731 - three one-line makers side by side
            objective, build_kernel(config, n_beta=n_beta), generators=own
        )
    elif engine == "sequential":
        make = lambda own: SequentialChain(  # noqa: E731
            objective, build_kernel(config, n_beta=n_beta), generators=own
        )
    else:
        from devtrack.sampling._devinterp_chains import (
            DevinterpChain,  # imports devinterp and its xarray
        )

        make = lambda own: DevinterpChain(  # noqa: E731
            objective, config, n_beta=n_beta, generator=own[0]
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
    """Try every batch under vmap, by two chains at w*; return what went wrong, or nothing.

    Under vmap the loss is called without what training called it with beside the batch, such as its
    index: a loss that depends on that is another one there.
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
        except Exception as error:  # noqa: BLE001 - whatever vmap cannot do, the plain path has done
            return f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200]}"
        expected = at_anchor[tried]
        if not np.allclose(losses.cpu(), expected, rtol=tolerance, equal_nan=True):
            return f"the loss under vmap was {losses.tolist()} instead of {expected.tolist()}"
    return ""
