"""Find the step size for a whole run, on its first snapshot.

nβ and γ define what is measured. ε only decides whether it is measured correctly, so it can be
found automatically. Curvature at initialization is too low to choose a step size that stays stable
later. We therefore train a copy briefly on the evaluation batches and choose the step size there.
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
from devtrack.sampling.calibration.config import DEFAULT_SEARCH, StepSizeSearchConfig
from devtrack.sampling.config import SamplerConfig
from devtrack.sampling.diagnostics import TOO_LARGE_STEP
from devtrack.sampling.estimator import LLCEstimate, estimate
from devtrack.sampling.kernels import kernel_class
from devtrack.sampling.sampler import sample


class StepSize(NamedTuple):
    """A step size to keep.

    Attributes:
        lr: ε.
        reason: Why it was chosen.
        found: Whether it agrees with its double; else it is a guess on the safe side.
        num_trials: Short estimates that the search took.
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
    search: StepSizeSearchConfig = DEFAULT_SEARCH,
) -> StepSize:
    """Return a step size for the run that starts at the model's weights.

    ε is halved until an estimate agrees with the one before, and neither shows a too large step.
    The initial weights must accept it too. Whether they are a minimum does not matter, because the
    step size does not depend on it.

    For LM-SGLD the search runs plain SGLD. A step size that suits SGLD's first-order error leaves
    LM-SGLD room for larger curvature, to which training mostly leads. The search costs
    ``pretrain_steps`` training steps and at most ``max_halvings`` + 3 short trials; three are
    usual.

    Args:
        model: In eval mode; its weights are restored at the end.
        loss: Maps (model, batch) to a scalar or per-sample losses.
        batches: The run's fixed batches.
        config: Method, nβ and γ for which to search.
        generator: The only source of randomness.
        count: Returns the samples in a batch.
        search: Constants of the search.

    Raises:
        DataError, MetricError: As ``sample`` does.
    """
    start = snapshots.take(model)
    method = kernel_class(config.method).step_search_method
    burnin = max(search.num_burnin_steps, kernel_class(config.method).warmup_steps(config))
    num_trials = 0

    def trial(lr: float) -> LLCEstimate:
        nonlocal num_trials
        num_trials += 1
        tried = replace(
            config,
            method=method,
            lr=lr,
            num_chains=search.num_chains,
            num_draws=search.num_draws,
            num_burnin_steps=burnin,
            num_steps_bw_draws=1,
        )
        chains = sample(model, loss, batches, config=tried, generator=generator, count=count)
        return estimate(chains, tried)

    tolerance = {"sigmas": search.agree_sigmas, "share": search.agree_share}
    lr, previous, accepted = search.max_step / max(config.localization, 1.0), None, []
    try:
        _pretrain_copy(model, loss, batches, search)
        for _ in range(search.max_halvings):
            now = trial(lr)
            too_large = _is_too_large(now)
            if previous is not None and not too_large and agree(previous, now, **tolerance):
                break
            previous = None if too_large else now
            accepted += [] if too_large else [lr]
            lr /= 2
        else:
            lr = max(accepted, default=2 * lr) / 2
            return StepSize(lr, "no step size agreed with its half", False, num_trials)
        snapshots.load_into(model, start)
        while _is_too_large(trial(lr)) and num_trials < search.max_halvings + 3:
            lr /= 2
    finally:
        snapshots.load_into(model, start)
    reason = (
        f"by {method} lr {lr:.2g} agrees with its double, {now.value:.3g} ± {now.se:.2g} "
        f"against {previous.value:.3g} ± {previous.se:.2g}, after {search.pretrain_steps} training "
        "steps on a copy"
    )
    return StepSize(lr, reason, True, num_trials)


def _is_too_large(found: LLCEstimate) -> bool:
    return any(warning.code in TOO_LARGE_STEP for warning in found.warnings)


def _pretrain_copy(
    model: nn.Module, loss: LossFunction, batches: Sequence[Any], search: StepSizeSearchConfig
) -> None:
    """Train the model briefly; the caller restores its weights."""
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not weights or not loss(model, batches[0]).requires_grad:
        return  # the sampler refuses such a model with reasons
    optimizer = torch.optim.Adam(weights, lr=search.pretrain_lr)
    for step in range(search.pretrain_steps):
        optimizer.zero_grad()
        loss(model, batches[step % len(batches)]).mean().backward()
        optimizer.step()
    optimizer.zero_grad()
