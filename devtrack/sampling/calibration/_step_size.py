"""The step size for a whole run, found on its first snapshot.

nβ and γ say what is measured; ε only whether it is measured right, so that it alone can be found
unaided. The weights that a run starts from are no minimum and have little curvature, hence no place
to choose a step size that later snapshots must bear. So the future is rehearsed: a copy is trained
on the run's fixed batches for a moment, and the choice is made where that leads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import nn

from devtrack.data._fixed_batches import num_rows
from devtrack.model_state import snapshots
from devtrack.sampling._user_loss import LossFunction
from devtrack.sampling.calibration._calibrate import agree
from devtrack.sampling.config import SamplerConfig
from devtrack.sampling.diagnostics import TOO_LARGE_STEP, Diagnosis
from devtrack.sampling.estimator import estimate
from devtrack.sampling.sampler import sample

PRETRAIN_STEPS = 300
PRETRAIN_LR = 1e-3
"""Steps of Adam, whose default step size suits most networks."""

TRIAL_SIZE = {"num_chains": 4, "num_draws": 100, "num_burnin_steps": 100, "num_steps_bw_draws": 1}

WARMUP_MEMORIES = 7.0
"""Memories of the second moments, 1 / (1 − decay), that trials of RMSProp-SGLD burn in for. The
moments start at 1: where gradients are small, steps keep growing until that is forgotten, and after
the 100 steps of other trials are a tenth of what a long estimate takes. The lr found so gave λ̂ 69
%
too high on a classifier."""

MAX_STEP = 0.2
"""Where the search begins, as ε γ: plain SGLD strays by ε γ / 4 where the pull alone holds it."""

MAX_HALVINGS = 12

AGREE = {"sigmas": 3.0, "share": 0.05}
"""Looser than for ``calibrate``: a pair that agrees ends the search, and chance must not let it go
on."""


class StepSize(NamedTuple):
    """A step size to keep.

    Attributes:
        lr: ε.
        reason: Why.
        found: Whether it agrees with its double; else it is a guess on the safe side.
        num_trials: Short estimates that it took.
    """

    lr: float
    reason: str
    found: bool
    num_trials: int


def find_step_size(
    model: nn.Module,
    *,
    loss: LossFunction,
    batches: Sequence[Any],
    config: SamplerConfig,
    generator: torch.Generator,
    count: Callable[[Any], int] = num_rows,
) -> StepSize:
    """Return a step size for the run that starts at the model's weights.

    Halves ε until an estimate agrees with the one before, neither bears a sign of too large a step,
    and the weights of the start bear it too. Whether the place is a minimum plays no part: the step
    size does not depend on it. For LM-SGLD plain SGLD is asked: what suits its first-order error
    leaves LM-SGLD room for weights of more curvature, which training mostly leads to. It costs
    ``PRETRAIN_STEPS`` training steps and at most ``MAX_HALVINGS`` + 3 trials of 4 chains of 200
    steps, ten default estimates; three are usual.

    Args:
        model: In eval mode; its weights are put back in the end.
        loss: Maps (model, batch) to a scalar or per-sample losses.
        batches: The run's fixed batches.
        config: Method, nβ and γ to find it for.
        generator: The only source of randomness.
        count: Returns the samples in a batch.

    Raises:
        DataError, MetricError: As ``sample`` does.
    """
    start = snapshots.take(model)
    tried_with = "sgld" if config.method == "lm_sgld" else config.method
    trials, burnin = 0, TRIAL_SIZE["num_burnin_steps"]
    if config.method == "rmsprop_sgld":
        burnin = max(burnin, round(WARMUP_MEMORIES / (1 - config.rmsprop_decay)))

    def trial(lr: float) -> Diagnosis:
        nonlocal trials
        trials += 1
        size = {**TRIAL_SIZE, "num_burnin_steps": burnin}
        tried = replace(config, method=tried_with, lr=lr, **size)
        chains = sample(model, loss, batches, config=tried, generator=generator, count=count)
        return estimate(chains, tried)

    lr, before, clean = MAX_STEP / max(config.localization, 1.0), None, []
    try:
        _pretrain_copy(model, loss, batches)
        for _ in range(MAX_HALVINGS):
            now = trial(lr)
            too_large = _is_too_large(now)
            if before is not None and not too_large and agree(before, now, **AGREE):
                break
            before = None if too_large else now
            clean += [] if too_large else [lr]
            lr /= 2
        else:
            lr = max(clean, default=2 * lr) / 2
            return StepSize(lr, "no step size agreed with its half", False, trials)
        snapshots.load_into(model, start)
        while _is_too_large(trial(lr)) and trials < MAX_HALVINGS + 3:
            lr /= 2
    finally:
        snapshots.load_into(model, start)
    reason = (
        f"by {tried_with} lr {lr:.2g} agrees with its double, {now.value:.3g} ± {now.se:.2g} "
        f"against {before.value:.3g} ± {before.se:.2g}, after {PRETRAIN_STEPS} rehearsed training "
        "steps"
    )
    return StepSize(lr, reason, True, trials)


def _is_too_large(found: Diagnosis) -> bool:
    return any(warning.code in TOO_LARGE_STEP for warning in found.warnings)


def _pretrain_copy(model: nn.Module, loss: LossFunction, batches: Sequence[Any]) -> None:
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not weights or not loss(model, batches[0]).requires_grad:
        return  # the sampler refuses it with reasons
    optimizer = torch.optim.Adam(weights, lr=PRETRAIN_LR)
    for step in range(PRETRAIN_STEPS):
        optimizer.zero_grad()
        loss(model, batches[step % len(batches)]).mean().backward()
        optimizer.step()
    optimizer.zero_grad()
