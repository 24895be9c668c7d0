"""Choose the sampler's hyperparameters for a whole run, with reasons.

The choice of ε, γ and nβ is the main difficulty of LLC estimation. It is made here once, on an
early, a middle and a late snapshot, with short chains, by the checks that every estimate passes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import nn

from devtrack._checks import require_number
from devtrack.errors import ConfigError, MetricError
from devtrack.model_state import snapshots
from devtrack.records import Status
from devtrack.sampling._user_loss import LossFunction
from devtrack.sampling.calibration._trials import Trial, TrialRunner
from devtrack.sampling.calibration.config import DEFAULT, CalibrationConfig
from devtrack.sampling.config import SamplerConfig
from devtrack.sampling.diagnostics import TOO_LARGE_STEP, TOO_SMALL_STEP, WarningCode
from devtrack.sampling.estimator import LLCEstimate
from devtrack.sampling.kernels import kernel_class

START = SamplerConfig(method="lm_sgld", num_chains=4, num_draws=150, num_burnin_steps=100)
"""Hyperparameters that are not searched, unless the caller passes others."""

NOT_A_MINIMUM = frozenset({WarningCode.NEGATIVE_LLC, WarningCode.NONZERO_GRADIENT})
"""Warnings about the snapshot rather than the step size."""


class Calibration(NamedTuple):
    """One frozen configuration, and how it was found.

    Attributes:
        config: To be kept for the whole run: pass its fields to ``LLC``.
        reasons: Why it was chosen, in sentences.
        trials: All trials, in order.
        training_gain: Loss decrease by training up to the last snapshot; infinite if unknown.
    """

    config: SamplerConfig
    reasons: tuple[str, ...]
    trials: tuple[Trial, ...]
    training_gain: float = math.inf


class _ConfirmedTrials(NamedTuple):
    """A candidate that holds: a trial per snapshot, one at half the step size, one longer."""

    candidate: list[Trial]
    half: Trial
    long: Trial

    @property
    def num_passed(self) -> int:
        return _num_passed(self.candidate)


def calibrate(
    model: nn.Module,
    points: Sequence[snapshots.Tensors],
    *,
    loss: LossFunction,
    batches: Sequence[Any],
    generator: torch.Generator,
    n_betas: Sequence[float] = (10.0, 30.0, 100.0, 300.0, 1000.0),
    localizations: Sequence[float] = (1.0, 10.0, 100.0, 300.0, 1000.0),
    start: SamplerConfig = START,
    untrained: snapshots.Tensors | None = None,
    criteria: CalibrationConfig = DEFAULT,
) -> Calibration:
    """Choose ε, γ and nβ on snapshots of one run.

    The largest nβ is tried first, with the weakest localization. Its chains stay nearest to w* and
    depend most on the curvature there. With a small nβ, λ̂ depends on the prior, or on the landscape
    far from w*.

    For each (nβ, γ) the step size descends a grid. The grid starts where one step reaches the
    bottom of the steepest direction at any snapshot. Pilots, a sixth of an estimate, rule out what
    cannot work. The estimate at the last snapshot must pass every check. Its chains must stay in
    the basin: their loss may not rise by as much as training has gained.

    A candidate is confirmed by a trial at half the step size over an equal time. A step size that
    disagrees is replaced by its half. Then chains ``long_run_factor`` times as long must agree, and
    the loss increase must lie clearly below that of the prior alone (nβ = 0). The first candidate
    that passes at all snapshots is taken. Otherwise the one that passes at most snapshots is taken,
    within ``max_loss_increase_share``.

    Args:
        model: In eval mode; its weights are restored at the end.
        points: Weights of an early, a middle and a late snapshot, in this order.
        loss: Maps (model, batch) to a scalar or per-sample losses.
        batches: The run's fixed batches.
        generator: The only source of randomness.
        n_betas: Values of nβ to try.
        localizations: Values of γ to try.
        start: All other hyperparameters: method, chains, draws, burn-in.
        untrained: Weights at the start of training. The training gain is measured from their loss
            or from that of a model with all weights zero, whichever is lower.
        criteria: Constants of the calibration.

    Raises:
        ConfigError: If there is nothing to try, or an nβ that is not above 0.
        MetricError: If no configuration passes; it names the most frequent warnings.
    """
    if not (points and n_betas and localizations):
        raise ConfigError(
            f"calibrate on {len(points)} points, {len(n_betas)} n_betas, {len(localizations)} "
            "localizations: at least 1 of each is needed. Pass the weights of a late snapshot."
        )
    for n_beta in n_betas:  # at 0 the loss has no influence
        require_number("n_beta", n_beta, lambda x: x > 0, "above 0", "n_beta=30")
    before = snapshots.take(model)
    best: _ConfirmedTrials | None = None
    try:
        runner = TrialRunner(model, points, loss, batches, generator, untrained, criteria=criteria)
        rejected: list[Trial] = []
        for config in _by_preference(start, n_betas, localizations):
            if any(_is_dominated(config, trial) for trial in rejected):
                continue
            at_least = best.num_passed + 1 if best else 1
            candidate = _search_step_size(runner, config, at_least=at_least)
            rejected += [] if candidate else runner.trials[-1:]
            confirmed = _confirm(runner, candidate) if candidate else None
            if confirmed and confirmed.num_passed >= at_least:
                best = confirmed
                if best.num_passed == len(points):
                    break
                _tighten_limits(runner, best.candidate[-1])
    finally:
        snapshots.load_into(model, before)
    if best:
        return Calibration(
            best.candidate[-1].config,
            tuple(_reasons(best, runner)),
            tuple(runner.trials),
            runner.training_gain,
        )
    raise MetricError(
        f"{len(runner.trials)} trials over n_beta {list(n_betas)} and localization "
        f"{list(localizations)}: none passed every check. {_most_common(runner.trials)}. Sample on "
        "more data, or pass other n_betas and localizations."
    )


def _by_preference(
    start: SamplerConfig, n_betas: Sequence[float], localizations: Sequence[float]
) -> list[SamplerConfig]:
    return [
        replace(start, n_beta=n_beta, localization=localization)
        for n_beta in sorted(n_betas, reverse=True)
        for localization in sorted(localizations)
    ]


def _tighten_limits(runner: TrialRunner, best: Trial) -> None:
    """Apply ``max_loss_increase_share`` to all later configurations."""
    assert best.config.n_beta is not None, "every candidate names its nβ"
    share = runner.criteria.max_loss_increase_share
    loss_increase = best.value / best.config.n_beta
    prior_share = loss_increase / runner.prior_control(best.config).value
    runner.max_loss_increase = max(share, loss_increase / runner.training_gain)
    runner.max_localization_share = max(share, prior_share if math.isfinite(prior_share) else 0.0)


def _is_dominated(config: SamplerConfig, trial: Trial) -> bool:
    """Say whether a configuration must fail, because the last trial of another one failed.

    At one γ, E[L] falls by Var(L) as nβ rises. A weaker prior lets it rise.
    """
    failed = trial.config
    assert config.n_beta is not None and failed.n_beta is not None, "every candidate names its nβ"
    if config.n_beta > failed.n_beta:
        return False
    if WarningCode.LEFT_BASIN in trial.codes:
        return config.localization <= failed.localization
    by_prior = WarningCode.LOCALIZATION_DOMINATED in trial.codes
    return by_prior and config.localization >= failed.localization


def _max_step_size(runner: TrialRunner, config: SamplerConfig) -> float:
    """Return the step size at which one step reaches the bottom of the steepest direction.

    Chains on a quadratic are stable up to twice as much. Preconditioned steps have another scale.
    """
    assert config.n_beta is not None, "every candidate names its nβ"
    most = 1 / max(config.localization, 1.0)
    if kernel_class(config.method).is_preconditioned or runner.curvature == 0:
        return most
    return min(most, 2 / (config.n_beta * runner.curvature + config.localization))


def _search_step_size(
    runner: TrialRunner, config: SamplerConfig, *, at_least: int
) -> list[Trial] | None:
    """Return the trials at every snapshot with the largest step size that all accept.

    Falls back to the largest step size accepted at the last snapshot. Returns None once fewer than
    ``at_least`` snapshots can still pass.
    """
    criteria = runner.criteria
    max_lr, num_slow, fallbacks = _max_step_size(runner, config), 0, []
    for level in range(criteria.step_levels):
        tried = replace(config, lr=max_lr / criteria.step_ratio**level)
        pilots = _pilots(runner, tried, at_least=at_least)
        last = pilots[0]
        if not any(_is_too_large(pilot) for pilot in pilots):
            candidate = _full_trials(runner, pilots, at_least=at_least)
            if candidate is None:
                break
            if candidate[-1].status is Status.OK:
                return candidate
            codes = candidate[-1].codes
            num_slow = num_slow + 1 if codes & TOO_SMALL_STEP else 0
            if num_slow == 2 or not codes & TOO_LARGE_STEP:
                break
        elif not last.warnings:
            fallbacks.append(pilots)
        elif WarningCode.NOT_EQUILIBRATED in last.codes:
            break  # with smaller steps, fewer directions equilibrate
    for pilots in fallbacks:
        candidate = _full_trials(runner, pilots, at_least=at_least)
        if candidate is None or candidate[-1].status is Status.OK:
            return candidate
    return None


def _full_trials(runner: TrialRunner, pilots: list[Trial], *, at_least: int) -> list[Trial] | None:
    """Return full trials where pilots passed, the last snapshot's last; None if too few can pass.

    Where a pilot failed, it stands for the full trial. If the last snapshot fails, all other pilots
    do.
    """
    last, *others = pilots
    num_ruled_out = sum(bool(pilot.warnings) for pilot in pilots)
    if last.warnings or runner.last + 1 - num_ruled_out < at_least:
        return None
    trial = runner.run(last.config, runner.last)
    if trial.status is not Status.OK:
        return [*others, trial]
    full = [pilot if pilot.warnings else runner.run(last.config, pilot.point) for pilot in others]
    return [*full, trial]


def _pilots(runner: TrialRunner, config: SamplerConfig, *, at_least: int) -> list[Trial]:
    """Return pilots at the last snapshot and then at the others, while enough of them can pass."""
    pilots = [runner.run(config, runner.last, purpose="pilot")]
    for point in range(runner.last):
        num_ruled_out = sum(bool(pilot.warnings) for pilot in pilots)
        if pilots[0].warnings or runner.last + 1 - num_ruled_out < at_least:
            break
        pilots.append(runner.run(config, point, purpose="pilot"))
    return pilots


def _is_too_large(trial: Trial) -> bool:
    return bool(trial.codes & TOO_LARGE_STEP) and not trial.codes & NOT_A_MINIMUM


def _num_passed(candidate: list[Trial]) -> int:
    return sum(trial.status is Status.OK for trial in candidate)


def _confirm(runner: TrialRunner, candidate: list[Trial]) -> _ConfirmedTrials | None:
    """Return the candidate, or one with a smaller step size, if longer and finer trials agree."""
    criteria = runner.criteria
    *others, trial = candidate
    for _ in range(criteria.max_halvings):
        half = runner.run(trial.config.halved(), trial.point, purpose="half")
        if half.status is not Status.OK:
            return None
        if agree(trial, half, sigmas=criteria.agree_sigmas, share=criteria.agree_share):
            num_draws = criteria.long_run_factor * trial.config.num_draws
            longer = replace(trial.config, num_draws=num_draws)
            long = runner.run(longer, trial.point, purpose="long")
            stays = agree(
                trial, long, sigmas=criteria.long_run_sigmas, share=criteria.long_run_share
            )
            if long.status is Status.OK and stays:
                return _ConfirmedTrials([*others, trial], half, long)
            if not _is_too_large(long):
                return None
        passed = [one.status is Status.OK for one in others]
        others = [
            runner.run(half.config, one.point) if ok else one
            for one, ok in zip(others, passed, strict=True)
        ]
        trial = half
    return None


def agree(
    trial: Trial | LLCEstimate, slower: Trial | LLCEstimate, *, sigmas: float, share: float
) -> bool:
    """Say whether two estimates agree, the second of which has smaller steps."""
    allowed = sigmas * math.hypot(slower.se, trial.se)
    return abs(slower.value - trial.value) <= max(allowed, share * abs(trial.value))


def _reasons(confirmed: _ConfirmedTrials, runner: TrialRunner) -> list[str]:
    *others, trial = confirmed.candidate
    half, long, chosen = confirmed.half, confirmed.long, trial.config
    assert chosen.n_beta is not None, "every candidate names its nβ"
    loss_increase = trial.value / chosen.n_beta
    prior_increase = runner.prior_control(chosen).value
    gain = runner.training_gain
    basin = (
        "whether that leads to another basin is unknown: the model is no better than one whose "
        "weights are all zero"
        if math.isinf(gain)
        else f"training has gained {gain:.2g}: chains that lose as much would be in another basin, "
        f"these lose {loss_increase / gain:.0%} of it"
    )
    return [
        f"lr {chosen.lr:.2g} passes every check, and half of it agrees: "
        f"{half.value:.4g} ± {half.se:.2g} against {trial.value:.4g} ± {trial.se:.2g}; chains "
        f"{runner.criteria.long_run_factor} times as long agree: {long.value:.4g} ± {long.se:.2g}",
        f"the chains' loss rises by {loss_increase:.2g}, and by {prior_increase:.2g} at n_beta 0: "
        "the loss, not localization alone, confines them",
        basin,
        f"of {len(confirmed.candidate)} points, {confirmed.num_passed} pass every check; n_beta "
        f"{chosen.n_beta:g} is the largest at which as many do, and localization "
        f"{chosen.localization:g} the weakest with it (Gamma ratio {trial.gamma_ratio:.2f})",
        *(f"not point {one.point}: {_main_warning(one)}" for one in others if one.warnings),
    ]


def _main_warning(trial: Trial) -> str:
    """Return the main warning of a trial; that w* is not a minimum explains the others."""
    return max(trial.warnings, key=lambda warning: warning.code in NOT_A_MINIMUM).message


def _most_common(trials: Sequence[Trial]) -> str:
    messages: dict[WarningCode, list[str]] = {}
    for trial in trials:
        for warning in trial.warnings:
            messages.setdefault(warning.code, []).append(warning.message)
    most = sorted(messages.values(), key=len, reverse=True)[:2]
    return "Most often: " + "; ".join(f"{same[-1]} ({len(same)}×)" for same in most)
