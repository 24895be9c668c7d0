"""Find settings of the sampler that work over a whole run, and say why they were chosen.

Users' first complaint is the choice of ε, γ and nβ (science.md §1). It is made here once, on an
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
from devtrack.sampling.config import SamplerConfig
from devtrack.sampling.diagnostics import TOO_LARGE_STEP, TOO_SMALL_STEP, Diagnosis, WarningCode

STEP_RATIO = 2.0
"""Factor from one step size to the next: a larger one steps over what lies between too large and
too slow (deep linear, nβ 1000, γ 10: 6.5e-4 and 2.1e-4)."""

STEP_LEVELS = 10

AGREE_SIGMAS = 2.0
AGREE_SHARE = 0.025
"""ε and ε/2 agree within so many standard errors of their difference, or this share of λ̂. Two, for
steps too large make errors large as well: 53.3 ± 2.5 and then 45.9 ± 0.4 (deep linear, exact 47)
are 2.9 apart; one time in twenty that costs a halving for nothing. And a bias of first order in ε
is twice the difference: modular MLP, nβ 300, γ 300, 414, 402, 391 and 386 at steps halved thrice,
and 378 at a sixteenth, before what steps add was taken out (``sampling.heat``)."""

MAX_LOSS_INCREASE_SHARE = 0.5
"""What another configuration that passes at more points may lose of training's gain, and share of
the rise at nβ = 0, where the one found before loses and has less. Any point passes with a pull so
strong, or so far from w*, that λ̂ tells nothing of it: the toy model of superposition, of λ̂ 8 to
10 at nβ 300 and 1000 and γ 1, came out at 1.6 by a pull that left .8 of the rise, and at 2.3 by
chains
that lost .94 of the gain."""

MAX_HALVINGS = 3
"""Times that a step size which disagrees with its half gives way to it."""

LONG_RUN_FACTOR = 4
"""Draws of the last trial over those of the others. Chains that sit in a basin for a while agree
over short times, and one set of them may pass a check that most would not: the toy model of
superposition by seed 2, nβ 1000, γ 1, came out at 10.6 ± .9 and 10.7 ± .9 at half the step; other
chains of that length at 11 to 12, beyond the bound of 9; and those four times as long left for a
basin of λ̂ 3, one by one."""

LONG_RUN_SIGMAS = 3.0
LONG_RUN_SHARE = 0.1
"""They stay where they were within so many standard errors of the difference, or this share of λ̂:
more draws settle more (deep linear, 44.9 ± .6 and 46.8 ± .4), another basin is another λ̂."""

START = SamplerConfig(method="lm_sgld", num_chains=4, num_draws=150, num_burnin_steps=100)
"""What is not chosen, unless the caller says otherwise."""

NOT_A_MINIMUM = frozenset({WarningCode.NEGATIVE_LLC, WarningCode.NONZERO_GRADIENT})
"""What speaks against a point rather than against the step size."""


class Calibration(NamedTuple):
    """One frozen configuration, and how it was found.

    Attributes:
        config: To be kept for the whole run: give its fields to ``LLC``.
        reasons: Why these, in sentences.
        trials: Everything that was tried, in order.
        training_gain: What training has gained up to the last point; infinite if unknown.
    """

    config: SamplerConfig
    reasons: tuple[str, ...]
    trials: tuple[Trial, ...]
    training_gain: float = math.inf


class _ConfirmedTrials(NamedTuple):
    """Trials that hold at the last point, one per point, one at half the step, and one longer."""

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
) -> Calibration:
    """Choose ε, γ and nβ on snapshots of one run.

    The largest nβ comes first, whose chains stay nearest to w* and see most of its curvature
    against the pull, and with it the weakest localization: a small nβ measures the pull, or the
        landscape
    far from w*. For each (nβ, γ) the step size descends a ladder from where it takes the steepest
    direction of any point to its bottom at once; pilots, a sixth of an estimate, rule out what
    cannot work. The estimate at the last point must pass every check, and its chains must stay in
    the landscape that training has found: their loss may not rise by as much as training has
    gained. It is confirmed by its half (over an equal time), to which a step size that disagrees
    gives way, then by chains ``LONG_RUN_FACTOR`` times as long, and must lie clearly below what the
    pull alone gives (nβ = 0). The first that passes at all points is taken, else what passes at
    most without giving up much more (``MAX_LOSS_INCREASE_SHARE``).

    Args:
        model: In eval mode; its weights are put back in the end.
        points: Weights of an early, a middle and a late snapshot, in this order.
        loss: Maps (model, batch) to a scalar or per-sample losses.
        batches: The run's fixed batches.
        generator: The only source of randomness.
        n_betas: Values of nβ to try.
        localizations: Values of γ to try.
        start: Everything else: method, chains, draws, burn-in.
        untrained: Weights that training started from. What it has gained is counted from their loss
            or from that of a model whose weights are all zero, whichever is lower.

    Raises:
        ConfigError: If there is nothing to try, or an nβ that is not above 0.
        MetricError: If no setting passes; it says what spoke against the best ones.
    """
    if not (points and n_betas and localizations):
        raise ConfigError(
            f"calibrate on {len(points)} points, {len(n_betas)} n_betas, {len(localizations)} "
            "localizations: at least 1 of each is needed. Pass the weights of a late snapshot."
        )
    for n_beta in n_betas:  # at 0 the loss plays no part
        require_number("n_beta", n_beta, lambda x: x > 0, "above 0", "n_beta=30")
    before = snapshots.take(model)
    best: _ConfirmedTrials | None = None
    try:
        runner = TrialRunner(model, points, loss, batches, generator, untrained)
        rejected: list[Trial] = []
        for tried in _by_preference(start, n_betas, localizations):
            if any(_is_dominated(tried, end) for end in rejected):
                continue
            at_least = best.num_passed + 1 if best else 1
            candidate = _search_step_size(runner, tried, at_least=at_least)
            rejected += [] if candidate else runner.trials[-1:]
            found = _confirm(runner, candidate) if candidate else None
            if found and found.num_passed >= at_least:
                best = found
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
    """Let no other configuration give up more of what is measured (``MAX_LOSS_INCREASE_SHARE``)."""
    assert best.config.n_beta is not None, "every candidate names its nβ"
    loss_increase = best.value / best.config.n_beta
    leaning = loss_increase / runner.prior_control(best.config).value
    runner.max_loss_increase = max(MAX_LOSS_INCREASE_SHARE, loss_increase / runner.training_gain)
    runner.max_localization_share = max(
        MAX_LOSS_INCREASE_SHARE, leaning if math.isfinite(leaning) else 0.0
    )


def _is_dominated(tried: SamplerConfig, end: Trial) -> bool:
    """Say whether chains would go astray, or hang on the pull alone, as a descent's last ones did.

    At one γ, E[L] falls by Var(L) as nβ rises, and a weaker pull lets it rise.
    """
    ended = end.config
    assert tried.n_beta is not None and ended.n_beta is not None, "every candidate names its nβ"
    if tried.n_beta > ended.n_beta:
        return False
    if WarningCode.LEFT_BASIN in end.codes:
        return tried.localization <= ended.localization
    return (
        WarningCode.LOCALIZATION_DOMINATED in end.codes and tried.localization >= ended.localization
    )


def _max_step_size(runner: TrialRunner, config: SamplerConfig) -> float:
    """Return the step size that takes the steepest direction to its bottom at once.

    Chains on a quadratic are stable up to twice as much. Preconditioned steps have another scale.
    """
    assert config.n_beta is not None, "every candidate names its nβ"
    most = 1 / max(config.localization, 1.0)
    if config.method == "rmsprop_sgld" or runner.curvature == 0:
        return most
    return min(most, 2 / (config.n_beta * runner.curvature + config.localization))


def _search_step_size(
    runner: TrialRunner, config: SamplerConfig, *, at_least: int
) -> list[Trial] | None:
    """Return the trials at every point with the largest step size that they bear.

    With the largest that the last one bears, if smaller ones do not suit the others either. None as
    soon as fewer than ``at_least`` points can pass.
    """
    max_lr, slow, fallbacks = _max_step_size(runner, config), 0, []
    for level in range(STEP_LEVELS):
        pilots = _pilots(runner, replace(config, lr=max_lr / STEP_RATIO**level), at_least=at_least)
        last = pilots[0]
        if not any(_is_too_large(pilot) for pilot in pilots):
            candidate = _full_trials(runner, pilots, at_least=at_least)
            if candidate is None:
                break
            if candidate[-1].status is Status.OK:
                return candidate
            codes = candidate[-1].codes
            slow = slow + 1 if codes & TOO_SMALL_STEP else 0
            if slow == 2 or not codes & TOO_LARGE_STEP:
                break
        elif not last.warnings:
            fallbacks.append(pilots)
        elif WarningCode.NOT_EQUILIBRATED in last.codes:
            break  # smaller steps settle less
    for pilots in fallbacks:
        candidate = _full_trials(runner, pilots, at_least=at_least)
        if candidate is None or candidate[-1].status is Status.OK:
            return candidate
    return None


def _full_trials(runner: TrialRunner, pilots: list[Trial], *, at_least: int) -> list[Trial] | None:
    """Return whole trials of what pilots let pass, the last point's last; None if too few can pass.

    The pilot is the trial of a point that it has ruled out; and of all, if the last does not pass.
    """
    last, *others = pilots
    if last.warnings or runner.last + 1 - sum(bool(pilot.warnings) for pilot in pilots) < at_least:
        return None
    trial = runner.run(last.config, runner.last)
    if trial.status is not Status.OK:
        return [*others, trial]
    found = [pilot if pilot.warnings else runner.run(last.config, pilot.point) for pilot in others]
    return [*found, trial]


def _pilots(runner: TrialRunner, config: SamplerConfig, *, at_least: int) -> list[Trial]:
    """Return pilots at the last point and then at the others, while enough of them can pass."""
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
    """Return the candidate, or one of smaller steps, if it holds."""
    *others, trial = candidate
    for _ in range(MAX_HALVINGS):
        half = runner.run(trial.config.halved(), trial.point, purpose="half")
        if half.status is not Status.OK:
            return None
        if agree(trial, half, sigmas=AGREE_SIGMAS, share=AGREE_SHARE):
            longer = replace(trial.config, num_draws=LONG_RUN_FACTOR * trial.config.num_draws)
            long = runner.run(longer, trial.point, purpose="long")
            stays = agree(trial, long, sigmas=LONG_RUN_SIGMAS, share=LONG_RUN_SHARE)
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
    trial: Trial | Diagnosis, slower: Trial | Diagnosis, *, sigmas: float, share: float
) -> bool:
    """Say whether two estimates agree, of which the second took smaller steps."""
    allowed = sigmas * math.hypot(slower.se, trial.se)
    return abs(slower.value - trial.value) <= max(allowed, share * abs(trial.value))


def _reasons(found: _ConfirmedTrials, runner: TrialRunner) -> list[str]:
    *others, trial = found.candidate
    half, long, chosen = found.half, found.long, trial.config
    assert chosen.n_beta is not None, "every candidate names its nβ"
    loss_increase, prior_increase = trial.value / chosen.n_beta, runner.prior_control(chosen).value
    landscape = (
        "whether that leads to another landscape is unknown: the model is no better than one whose "
        "weights are all zero"
        if math.isinf(runner.training_gain)
        else f"training has gained {runner.training_gain:.2g}: chains that lose as much would see "
        "another landscape than it found, these lose "
        f"{loss_increase / runner.training_gain:.0%} of it"
    )
    return [
        f"lr {chosen.lr:.2g} passes every check, and half of it agrees: "
        f"{half.value:.4g} ± {half.se:.2g} against {trial.value:.4g} ± {trial.se:.2g}; chains "
        f"{LONG_RUN_FACTOR} times as long stay: {long.value:.4g} ± {long.se:.2g}",
        f"the chains' loss rises by {loss_increase:.2g}, and by {prior_increase:.2g} at n_beta 0: "
        "the loss, not the pull alone, holds them",
        landscape,
        f"of {len(found.candidate)} points, {found.num_passed} pass every check; n_beta "
        f"{chosen.n_beta:g} is the largest at which as many do, and localization "
        f"{chosen.localization:g} the weakest pull with it (Gamma ratio {trial.gamma_ratio:.2f})",
        *(f"not point {one.point}: {_main_warning(one)}" for one in others if one.warnings),
    ]


def _main_warning(trial: Trial) -> str:
    """Return what speaks against a trial; that w* is no minimum there explains the rest."""
    return max(trial.warnings, key=lambda warning: warning.code in NOT_A_MINIMUM).message


def _most_common(trials: Sequence[Trial]) -> str:
    found: dict[WarningCode, list[str]] = {}
    for trial in trials:
        for warning in trial.warnings:
            found.setdefault(warning.code, []).append(warning.message)
    best = sorted(found.values(), key=len, reverse=True)[:2]
    return "Most often: " + "; ".join(f"{said[-1]} ({len(said)}×)" for said in best)
