"""When to look at chains on their way, how closely, and when to ask whether they may stop."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from devtrack.sampling.config import SamplerConfig

EVALUATION_BUDGET = 0.06
"""What looks at several batches may cost over the steps; a forward is a third of a step."""

EVALUATIONS_MIN, EVALUATIONS_MAX = 10, 25
"""Times per chain that the full loss is evaluated when it costs extra (more than one batch)."""

BATCHES_PER_EVALUATION = 4
"""Batches that a look evaluates if it can: fewer put the noise of their choice into it."""

FULL_DATA_EVALUATIONS_MIN = 8
"""Looks that λ̂ is measured at, even if they cost more than a third of the steps."""

DRAWS_PER_EVALUATION = 10
"""Where chains may stop early, looks cannot be spread over a length that nobody knows. Each is at
``BATCHES_PER_EVALUATION`` batches even so: the noise of two hid how slowly chains moved, and where
they would stop, errors were too small (a regression on 8 batches, 100 sets of 4 chains stopped at
an
error of 1 in 30: ± 1.96 of it held the truth 76 times at 2 batches every 5 draws, 81 times so)."""

FIRST_STOP_CHECK = 100
"""Draws per chain before they may stop: split R-hat and the drift over thirds need some, and an
error from few draws is small by luck (there, first asked after 50 draws 81 times, after 100 89)."""

STOP_CHECK_GROWTH = 1.25
"""Draws at one check over those at the one before. Every check is a chance to stop on a standard
error that is too small by luck, so they are few."""


class RecordingSchedule(NamedTuple):
    """The plan of a walk.

    Attributes:
        evaluations: Steps after which to look, ascending; the last step is one.
        stop_checks: Numbers of looks after which to ask whether to stop; none for a walk to the
            end.
        full_batches: Batches that a look evaluates.
    """

    evaluations: list[int]
    stop_checks: frozenset[int]
    full_batches: int


def plan_recording(config: SamplerConfig, *, num_batches: int, may_stop: bool) -> RecordingSchedule:
    """Return the pace of a walk.

    Where λ̂ is measured at looks, each evaluates all K batches, and comes when a chain has stepped
    on all of them equally often: what they have done to it cancels then, and is at its largest
    halfway. That takes K steps a look, a third of their cost; where so few draws make no
    ``FULL_DATA_EVALUATIONS_MIN`` rounds, looks come more often.

    Args:
        config: The sampler's settings; ``num_draws`` is the most where chains may stop.
        num_batches: Batches K in all.
        may_stop: Whether chains stop once they know enough.
    """
    num_steps = config.num_draws * config.num_steps_bw_draws
    total_steps = config.num_burnin_steps + num_steps
    forwards = 3 * EVALUATION_BUDGET * total_steps
    num_evaluations = round(forwards / min(num_batches, BATCHES_PER_EVALUATION))
    num_evaluations = min(max(num_evaluations, EVALUATIONS_MIN), EVALUATIONS_MAX, num_steps)
    if may_stop:
        num_evaluations = max(num_evaluations, config.num_draws // DRAWS_PER_EVALUATION)
    on_full_data = config.evaluate_on == "full_data" and num_batches > 1  # one batch: at every draw
    if on_full_data:
        num_evaluations = min(FULL_DATA_EVALUATIONS_MIN, num_steps)
    after = [round(step) for step in np.linspace(0, num_steps, num_evaluations + 1)[1:]]
    if on_full_data and num_steps >= FULL_DATA_EVALUATIONS_MIN * num_batches:
        after = [*range(num_batches, num_steps, num_batches), num_steps]
    affordable = max(round(forwards / num_evaluations), BATCHES_PER_EVALUATION if may_stop else 0)
    if on_full_data:
        affordable = num_batches
    stop_checks = set()
    if may_stop:
        wanted = FIRST_STOP_CHECK * config.num_steps_bw_draws
        for number, step in enumerate(after, start=1):
            if step >= wanted:
                stop_checks.add(number)
                wanted = math.ceil(STOP_CHECK_GROWTH * step)
    return RecordingSchedule(
        [config.num_burnin_steps + step for step in after],
        frozenset(stop_checks),
        max(min(num_batches, affordable), min(num_batches, 2)),
    )
