"""Chains around a point of the weights: what to walk on, when to look, and what was seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from devtrack.data._fixed_batches import num_rows
from devtrack.model_state.isolation import isolated
from devtrack.sampling._baseline import Baseline, require_same_with_gradient, take_baseline
from devtrack.sampling._engine_selection import Engine, build_groups, choose_engine, require_engine
from devtrack.sampling._localization import prior_loss_increase
from devtrack.sampling._objective import Objective, Parts
from devtrack.sampling._recording_schedule import plan_recording
from devtrack.sampling._user_loss import LossFunction
from devtrack.sampling._walks import ChainHistory, run_chains
from devtrack.sampling.chain_record import Chains, Indices
from devtrack.sampling.config import SamplerConfig

ANCHOR_BUDGET, ANCHOR_BATCHES_MIN = 0.02, 8
"""Batches whose gradient at w* is taken: so many over the steps of all chains, and the fewest."""


def sample(
    model: nn.Module,
    loss: LossFunction,
    batches: Sequence[Any],
    *,
    config: SamplerConfig,
    generator: torch.Generator,
    engine: Engine = "auto",
    parts: Parts | None = None,
    max_memory_bytes: int | None = None,
    count: Callable[[Any], int] = num_rows,
    should_stop: Callable[[Chains], bool] | None = None,
) -> Chains:
    """Run chains from the model's weights and return the losses along them.

    Every chain walks through random orders of the batches. L(w*) is evaluated once per batch, so
    that each draw has its exact partner (science: "the baseline"); random numbers that the loss
    draws are fixed per batch, as part of the data (see ``baseline``). A chain that becomes
    non-finite stays so; it disturbs no other.

    Args:
        model: In eval mode; left as it is.
        loss: Maps (model, batch) to a scalar or per-sample losses.
        batches: Fixed evaluation batches on the model's device.
        config: The sampler's settings.
        generator: The only source of randomness.
        engine: ``vectorized``: all chains at once; ``sequential``: one after another, same numbers;
            ``reference``: devinterp's optimizer; ``auto``: vectorized, and sequential for models
            that vmap refuses or that a CPU runs no slower alone.
        parts: Sample these weights only and hold the others; all that require grad if None.
        max_memory_bytes: Memory that the vectorized engine may take; it runs as many chains at once
            as fit, one at least. The answer does not depend on it. No limit if None.
        count: Returns the samples in a batch.
        should_stop: Asked now and then with the chains so far; they stop once it says yes. All
            groups then stay in memory. To the last draw if None.

    Raises:
        DataError: If there is no batch, or n / log n is undefined for its size.
        MetricError: If the loss does not depend on weights that require grad, or is another
            function where they do not.
        ConfigError: If ``engine`` is unknown or does not know the method, or vectorized is asked
            for and impossible.
    """
    require_engine(engine, config.method)
    seeds = _draw_seeds(generator, config.num_chains + 2)
    with isolated(seed=seeds[0]), torch.inference_mode(False), torch.enable_grad():
        objective = Objective(model, loss, batches, parts=parts, precision=config.precision)
        samples_per_batch = max(map(count, batches))  # whichever comes first
        n_beta = config.n_beta_for(samples_per_batch)
        baseline = take_baseline(objective)
        at_anchor = baseline.losses  # (batch,)
        gradient, gradient_noise = _gradient_at_anchor(objective, config, baseline)
        prior_increase = prior_loss_increase(objective, config, at_anchor=at_anchor, seed=seeds[0])
        chosen, engine_note = choose_engine(engine, objective, baseline)
        groups = build_groups(
            chosen,
            objective,
            config,
            n_beta=n_beta,
            seeds=seeds[2:],
            max_memory_bytes=max_memory_bytes,
        )
        order = _batch_order(config, num_batches=len(batches), seed=seeds[1])
        schedule = plan_recording(
            config, num_batches=len(batches), may_stop=should_stop is not None
        )
        drawn = _drawn_steps(config)

        def chains_from(history: ChainHistory) -> Chains:
            record, states = history.record, history.states
            kept = drawn[drawn < record.loss.shape[1]]
            loss, after = record.loss[:, kept], slice(config.num_burnin_steps, None)
            return Chains(
                loss=loss,
                baseline=at_anchor[order[:, kept]],
                virial=record.virial[:, kept],
                batch=order[:, kept],
                full_loss=history.full_loss if schedule.full_batches > 1 else loss[:, after],
                full_baseline=float(at_anchor[: schedule.full_batches].mean()),
                data_baseline=float(at_anchor.mean()),
                squared_distance=states.squared_distance,
                first_order=states.first_order,
                squared_gradient=states.squared_gradient,
                gradient_diff_1=states.gradient_diff_1,
                gradient_diff_2=states.gradient_diff_2,
                gradient_noise=gradient_noise,
                prior_loss_increase=prior_increase,
                n_beta=n_beta,
                samples_per_batch=samples_per_batch,
                num_batches=objective.num_batches,
                full_batches=schedule.full_batches,
                num_parameters=objective.num_parameters,
                engine=chosen,
                engine_note=engine_note,
            )

        history = run_chains(
            groups,
            order,
            schedule=schedule,
            gradient=gradient,
            should_stop=lambda so_far: should_stop is not None and should_stop(chains_from(so_far)),
        )
    return chains_from(history)


def _drawn_steps(config: SamplerConfig) -> Indices:
    """Return the steps that are kept: all of burn-in, then one per draw."""
    burnin = np.arange(config.num_burnin_steps)
    draws = np.arange(config.num_draws) * config.num_steps_bw_draws
    return np.concatenate([burnin, config.num_burnin_steps + draws])


def _batch_order(config: SamplerConfig, *, num_batches: int, seed: int) -> Indices:
    """Return the batch of every step, (chain, step): random orders, one after another.

    The draws begin with an order of their own. As many chains as there are batches share an order
    and enter it at equal distances, so that together they have met all batches equally often after
    few steps.
    """
    num_steps = config.num_draws * config.num_steps_bw_draws
    rng = np.random.default_rng(seed)
    blocks = [
        np.concatenate(
            [
                _shared_order(rng, chains, num_batches, config.num_burnin_steps),
                _shared_order(rng, chains, num_batches, num_steps),
            ],
            axis=1,
        )
        for start in range(0, config.num_chains, num_batches)
        if (chains := min(num_batches, config.num_chains - start))
    ]
    return np.concatenate(blocks)


def _shared_order(
    rng: np.random.Generator, num_chains: int, num_batches: int, num_steps: int
) -> Indices:
    rounds = np.tile(np.arange(num_batches), (-(-num_steps // num_batches), 1))
    orders = rng.permuted(rounds, axis=1)  # (round, batch)
    entry = np.arange(num_chains) * num_batches // num_chains
    place = (entry[:, None] + np.arange(num_batches)) % num_batches  # (chain, batch)
    return orders[:, place].swapaxes(0, 1).reshape(num_chains, -1)[:, :num_steps]


def _draw_seeds(generator: torch.Generator, count: int) -> list[int]:
    low, high = 0, 2**32 - 1  # what numpy's and torch's seeding both accept
    seeds = torch.randint(low, high, (count,), generator=generator, device=generator.device)
    return seeds.tolist()


def _gradient_at_anchor(
    objective: Objective, config: SamplerConfig, baseline: Baseline
) -> tuple[torch.Tensor, float]:
    """Return ∇L(w*), (parameter,), and the squared noise that one batch adds to it.

    The mean is over as many batches as cost ``ANCHOR_BUDGET`` of the sampling, all if they do.
    """
    num_steps = config.num_burnin_steps + config.num_draws * config.num_steps_bw_draws
    affordable = round(ANCHOR_BUDGET * num_steps * config.num_chains)
    count = min(objective.num_batches, max(affordable, ANCHOR_BATCHES_MIN))
    total, one = torch.zeros_like(objective.anchor), torch.empty_like(objective.anchor)
    squares = 0.0
    for batch in range(count):
        loss = objective.gradient(objective.anchor, batch, out=one)
        if batch == 0:
            require_same_with_gradient(objective, float(loss), baseline)
        total += one
        squares += float(one.square().sum())
    mean = total / count
    noise = (squares / count - float(mean.square().sum())) * count / max(count - 1, 1)
    return mean, max(noise, 0.0)
