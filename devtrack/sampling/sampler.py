"""Run chains around a point of the weights and record them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from devtrack.data._fixed_batches import num_rows
from devtrack.model_state.isolation import isolated
from devtrack.sampling._baseline import Baseline, require_same_with_gradient, take_baseline
from devtrack.sampling._engine_selection import Engine, build_groups, choose_engine, require_engine
from devtrack.sampling._localization import prior_loss_increase
from devtrack.sampling._objective import Objective, Parts
from devtrack.sampling._recording_schedule import RecordingSchedule, plan_recording
from devtrack.sampling._user_loss import LossFunction
from devtrack.sampling._vectorized_chains import ChainGroup, ChainState, StepRecord
from devtrack.sampling.chain_record import Chains, Floats, Indices
from devtrack.sampling.config import SamplerConfig

ANCHOR_BUDGET, ANCHOR_BATCHES_MIN = 0.02, 8
"""Batches for the gradient at w*: as a share of the steps of all chains, and the fewest. Chosen by
hand; not fitted."""


class ChainHistory(NamedTuple):
    """What chains recorded so far. NaN: not yet, or the chain is no longer finite.

    Shapes:
        Those of ``record``: (chain, step). full_loss and those of ``states``: (chain, evaluation).
    """

    record: StepRecord
    full_loss: Floats
    states: ChainState

    def until(self, evaluation: int, step: int) -> ChainHistory:
        """Return the part up to a number of evaluations and of steps."""
        record = StepRecord(*(values[:, :step] for values in self.record))
        states = ChainState(*(values[:, :evaluation] for values in self.states))
        return ChainHistory(record, self.full_loss[:, :evaluation], states)


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

    Every chain steps through random orders of the batches. L(w*) is evaluated once per batch, so
    each draw has its exact partner. Random numbers of the loss are fixed per batch, as part of the
    data (see ``_baseline``). A chain that is no longer finite stays so and affects no other.

    Args:
        model: In eval mode; left as it is.
        loss: Maps (model, batch) to a scalar or per-sample losses.
        batches: Fixed evaluation batches on the model's device.
        config: The sampler's hyperparameters.
        generator: The only source of randomness.
        engine: ``vectorized`` runs all chains at once, ``sequential`` one after another with the
            same numbers, and ``reference`` by devinterp's optimizer. The default
            ``auto`` is vectorized, and sequential for models that vmap refuses or that a CPU runs
            no slower alone.
        parts: Sample these weights only and hold the others; all that require grad if None.
        max_memory_bytes: Memory that the vectorized engine may take; it runs as many chains at once
            as fit, at least one. The result does not depend on it. No limit if None.
        count: Returns the samples in a batch.
        should_stop: Called at the stop checks of the schedule with the chains so far; they stop
            once it returns True. All groups then stay in memory. To the last draw if None.

    Raises:
        DataError: If there is no batch, or n / log n is undefined for its size.
        MetricError: If the loss does not depend on weights that require grad, or is another
            function where they do not.
        ConfigError: If ``engine`` is unknown or does not have the method, or vectorized is asked
            for and impossible.
    """
    require_engine(engine, config.method)
    seeds = _draw_seeds(generator, config.num_chains + 2)
    with isolated(seed=seeds[0]), torch.inference_mode(False), torch.enable_grad():
        objective = Objective(model, loss, batches, parts=parts, precision=config.precision)
        samples_per_batch = max(map(count, batches))
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
        may_stop = should_stop is not None
        schedule = plan_recording(config, num_batches=len(batches), may_stop=may_stop)
        drawn = _drawn_steps(config)

        def chains_from(history: ChainHistory) -> Chains:
            record, states = history.record, history.states
            steps = drawn[drawn < record.loss.shape[1]]
            step_loss, after = record.loss[:, steps], slice(config.num_burnin_steps, None)
            return Chains(
                loss=step_loss,
                baseline=at_anchor[order[:, steps]],
                virial=record.virial[:, steps],
                batch=order[:, steps],
                full_loss=history.full_loss if schedule.full_batches > 1 else step_loss[:, after],
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


def run_chains(
    groups: Sequence[Callable[[], ChainGroup]],
    order: Indices,
    *,
    schedule: RecordingSchedule,
    gradient: torch.Tensor,
    should_stop: Callable[[ChainHistory], bool],
) -> ChainHistory:
    """Run groups of chains and return their history.

    Without stop checks one group runs after another, so that no two take memory at once. With stop
    checks all groups advance together, because the decision depends on all of them.

    Args:
        groups: Makers of the groups, in the order of their chains.
        order: The batch of every step, (chain, step).
        schedule: When to evaluate, and when to ask whether to stop.
        gradient: ∇L(w*), (parameter,).
        should_stop: Says whether the history so far is enough; called at the stop checks.
    """
    num_chains, num_evaluations = len(order), len(schedule.evaluations)
    record = StepRecord(*np.full((2, *order.shape), np.nan))
    num_fields = 1 + len(ChainState._fields)
    full_loss, *states = np.full((num_fields, num_chains, num_evaluations), np.nan)
    history = ChainHistory(record, full_loss, ChainState(*states))
    members = np.array_split(np.arange(num_chains), len(groups))
    runs = [
        _run_group(
            make_group,
            order,
            history,
            slice(chains[0], chains[-1] + 1),
            schedule=schedule,
            gradient=gradient,
        )
        for make_group, chains in zip(groups, members, strict=True)
    ]
    if not schedule.stop_checks:
        for run in runs:
            for _ in run:
                pass
        return history
    for evaluation, step in enumerate(schedule.evaluations, start=1):
        for run in runs:
            next(run, None)
        if evaluation in schedule.stop_checks and should_stop(history.until(evaluation, step)):
            return history.until(evaluation, step)
    return history


def _run_group(
    make_group: Callable[[], ChainGroup],
    order: Indices,
    history: ChainHistory,
    rows: slice,
    *,
    schedule: RecordingSchedule,
    gradient: torch.Tensor,
) -> Iterator[None]:
    """Write what a group records into its rows of ``history``; pause after every evaluation."""
    group = make_group()
    for evaluation, (start, stop) in enumerate(pairwise([0, *schedule.evaluations])):
        for values, new in zip(history.record, group.advance(order[rows, start:stop]), strict=True):
            values[rows, start:stop] = new
        for values, new in zip(history.states, group.observe(gradient), strict=True):
            values[rows, evaluation] = new
        if not np.isfinite(history.states.squared_distance[rows, evaluation]).any():
            return  # no chain is finite: the rest stays NaN
        if schedule.full_batches > 1:
            history.full_loss[rows, evaluation] = group.full_losses(schedule.full_batches)
        yield


def _drawn_steps(config: SamplerConfig) -> Indices:
    """Return the steps that are kept: all of burn-in, then one per draw."""
    burnin = np.arange(config.num_burnin_steps)
    draws = np.arange(config.num_draws) * config.num_steps_bw_draws
    return np.concatenate([burnin, config.num_burnin_steps + draws])


def _batch_order(config: SamplerConfig, *, num_batches: int, seed: int) -> Indices:
    """Return the batch of every step, (chain, step): random orders, one after another.

    The draws begin with an order of their own. As many chains as there are batches share an order
    and enter it at equal distances. Together they have then used all batches equally often after
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
    positions = (entry[:, None] + np.arange(num_batches)) % num_batches  # (chain, batch)
    return orders[:, positions].swapaxes(0, 1).reshape(num_chains, -1)[:, :num_steps]


def _draw_seeds(generator: torch.Generator, count: int) -> list[int]:
    low, high = 0, 2**32 - 1  # what numpy's and torch's seeding both accept
    seeds = torch.randint(low, high, (count,), generator=generator, device=generator.device)
    return seeds.tolist()


def _gradient_at_anchor(
    objective: Objective, config: SamplerConfig, baseline: Baseline
) -> tuple[torch.Tensor, float]:
    """Return ∇L(w*), (parameter,), and the squared noise that one batch adds to it.

    The mean is over as many batches as cost ``ANCHOR_BUDGET`` of the sampling, at most all.
    """
    affordable = round(ANCHOR_BUDGET * config.num_steps * config.num_chains)
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
