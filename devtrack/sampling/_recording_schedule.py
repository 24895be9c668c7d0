"""When to evaluate chains, on how many batches, and when to ask whether they may stop."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from devtrack.sampling.config import SamplerConfig


@dataclass(frozen=True, kw_only=True)
class RecordingConfig:
    """Constants of the recording schedule.

    Unless a field says otherwise, its value was chosen by hand; not fitted.

    Attributes:
        evaluation_budget: Cost of evaluations on several batches, as a share of the cost of all
            steps. A forward pass counts as a third of a step.
        evaluations_min, evaluations_max: Number of evaluations per chain, unless λ̂ is measured at
            them.
        batches_per_evaluation: Batches of one evaluation, if the data has as many. With fewer,
            batch noise masks the autocorrelation of the loss, and early stopping underestimates the
            standard error. Fitted on a regression with 8 batches by
            ``python -m experiments.bench.llc_coverage``.
        full_data_evaluations_min: Fewest evaluations where λ̂ is measured at them, even if they cost
            more than a third of the steps.
        draws_per_evaluation: Draws from one evaluation to the next where chains may stop early, as
            their final length is then unknown.
        first_stop_check: Draws per chain before they may stop. Split R-hat and the drift over
            thirds need some, and a standard error from few draws is often too small. Fitted like
            ``batches_per_evaluation``.
        stop_check_growth: Ratio of the draws at one check to those at the one before. Every check
            is a chance to stop on a standard error that is too small, so checks are few.
    """

    evaluation_budget: float = 0.06
    evaluations_min: int = 10
    evaluations_max: int = 25
    batches_per_evaluation: int = 4
    full_data_evaluations_min: int = 8
    draws_per_evaluation: int = 10
    first_stop_check: int = 100
    stop_check_growth: float = 1.25


DEFAULT = RecordingConfig()


class RecordingSchedule(NamedTuple):
    """When to record what.

    Attributes:
        evaluations: Steps after which chains are evaluated, ascending; the last step is one.
        stop_checks: Numbers of evaluations after which to ask whether to stop; empty if chains run
            to the end.
        full_batches: Batches of one evaluation.
    """

    evaluations: list[int]
    stop_checks: frozenset[int]
    full_batches: int


def plan_recording(
    config: SamplerConfig,
    *,
    num_batches: int,
    may_stop: bool,
    recording: RecordingConfig = DEFAULT,
) -> RecordingSchedule:
    """Return the recording schedule of the chains.

    Where λ̂ is measured at evaluations, each one uses all K batches. It comes when a chain has
    stepped on all batches equally often, because the effect of the batch order cancels then. It is
    largest halfway through an order. That takes K steps per evaluation. With too few draws for
    ``full_data_evaluations_min`` such rounds, evaluations come more often.

    Args:
        config: The sampler's hyperparameters; ``num_draws`` is the maximum if chains may stop.
        num_batches: Batches K in all.
        may_stop: Whether chains may stop early.
        recording: Constants of the schedule.
    """
    num_steps = config.num_draws * config.num_steps_bw_draws
    forwards = 3 * recording.evaluation_budget * config.num_steps
    per_evaluation = recording.batches_per_evaluation
    num_evaluations = round(forwards / min(num_batches, per_evaluation))
    num_evaluations = max(num_evaluations, recording.evaluations_min)
    num_evaluations = min(num_evaluations, recording.evaluations_max, num_steps)
    if may_stop:
        num_evaluations = max(num_evaluations, config.num_draws // recording.draws_per_evaluation)
    # with one batch, λ̂ is measured on all data at every draw
    on_full_data = config.evaluate_on == "full_data" and num_batches > 1
    fewest = recording.full_data_evaluations_min
    if on_full_data:
        num_evaluations = min(fewest, num_steps)
    after = [round(step) for step in np.linspace(0, num_steps, num_evaluations + 1)[1:]]
    if on_full_data and num_steps >= fewest * num_batches:
        after = [*range(num_batches, num_steps, num_batches), num_steps]
    affordable = max(round(forwards / num_evaluations), per_evaluation if may_stop else 0)
    if on_full_data:
        affordable = num_batches
    return RecordingSchedule(
        [config.num_burnin_steps + step for step in after],
        frozenset(_stop_checks(after, config, recording)) if may_stop else frozenset(),
        max(min(num_batches, affordable), min(num_batches, 2)),
    )


def _stop_checks(after: list[int], config: SamplerConfig, recording: RecordingConfig) -> set[int]:
    """Return the numbers of the evaluations at which to ask whether to stop."""
    checks = set()
    next_step = recording.first_stop_check * config.num_steps_bw_draws
    for number, step in enumerate(after, start=1):
        if step >= next_step:
            checks.add(number)
            next_step = math.ceil(recording.stop_check_growth * step)
    return checks
