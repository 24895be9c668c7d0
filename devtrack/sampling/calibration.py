"""Find settings of the sampler that work over a whole run, and say why they were chosen.

Users' first complaint is the choice of ε, γ and nβ (science.md §1). It is made here once, on an
early, a middle and a late snapshot, with short chains, by the checks that every estimate passes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from devtrack import snapshots
from devtrack.diagnostics import Cause, Diagnosis, Doubt
from devtrack.errors import ConfigError, MetricError
from devtrack.rows import Status
from devtrack.sampling.chains import Chains, sample
from devtrack.sampling.estimates import estimate
from devtrack.sampling.objective import LossFunction
from devtrack.sampling.settings import SamplerSettings

Purpose = Literal["sweep", "half", "control"]

LADDER = math.sqrt(10.0)
"""Factor from one step size to the next."""

LADDER_LENGTH = 9

CONTROL_SHARE = 0.9
"""Where the loss rises as far at nβ = 0, above this share, the pull alone makes the estimate."""

AGREE_SIGMAS = 3.0
AGREE_SHARE = 0.05
"""ε and ε/2 agree within so many standard errors of their difference, or this share of λ̂."""

MOST_HALVINGS = 3
"""Times that a step size which disagrees with its half gives way to it."""


class Trial(NamedTuple):
    """One short estimate.

    Attributes:
        purpose: ``sweep``; ``half``: at half the step size; ``control``: at nβ = 0, where ``value``
            counts in units of the nβ that it controls.
        point: Index of the snapshot.
        settings: What was tried.
        value, se, gamma_ratio: The estimate.
        status, doubts: Trust in it.
        trace: Mean signal of all chains, burn-in included, (draw,).
    """

    purpose: Purpose
    point: int
    settings: SamplerSettings
    value: float
    se: float
    gamma_ratio: float
    status: Status
    doubts: tuple[Doubt, ...]
    trace: npt.NDArray[np.floating]


class Calibration(NamedTuple):
    """One frozen configuration, and how it was found.

    Attributes:
        settings: To be kept for the whole run: give its fields to ``LLC``.
        reasons: Why these, in sentences.
        trials: Everything that was tried, in order.
    """

    settings: SamplerSettings
    reasons: tuple[str, ...]
    trials: tuple[Trial, ...]


class _Bench:
    """Runs trials on the points and keeps them."""

    def __init__(
        self,
        model: nn.Module,
        points: Sequence[snapshots.Tensors],
        loss: LossFunction,
        batches: Sequence[Any],
        generator: torch.Generator,
    ) -> None:
        self._model, self._points = model, points
        self._loss, self._batches, self._generator = loss, batches, generator
        self.trials: list[Trial] = []

    def run(self, settings: SamplerSettings, point: int, *, purpose: Purpose = "sweep") -> Trial:
        """Estimate at one point."""
        snapshots.load_into(self._model, self._points[point])
        used = replace(settings, n_beta=0.0) if purpose == "control" else settings
        chains = sample(
            self._model, self._loss, self._batches, settings=used, generator=self._generator
        )
        assert settings.n_beta is not None, "every candidate names its nβ"
        chains = chains._replace(n_beta=settings.n_beta)
        found = estimate(chains, settings)
        trace = _trace(chains)
        # a control has no status to pass: how far its chains went is the answer, however far
        is_control = purpose == "control"
        trial = Trial(
            purpose,
            point,
            settings,
            float(trace[settings.num_burnin_steps :].mean()) if is_control else found.value,
            found.se,
            found.gamma_ratio,
            found.status,
            found.doubts,
            trace,
        )
        self.trials.append(trial)
        return trial


def calibrate(
    model: nn.Module,
    points: Sequence[snapshots.Tensors],
    *,
    loss: LossFunction,
    batches: Sequence[Any],
    generator: torch.Generator,
    n_betas: Sequence[float] = (10.0, 30.0, 100.0, 1000.0),
    localizations: Sequence[float] = (1.0, 10.0, 100.0, 300.0),
    start: SamplerSettings | None = None,
) -> Calibration:
    """Choose ε, γ and nβ on snapshots of one run.

    The largest nβ comes first, whose chains stay nearest to w* and see most of its curvature
    against the pull, and with it the weakest pull: a small nβ measures the pull, or the landscape
    far from w*. For each (nβ, γ) the step size descends a ladder from 1/γ until the last point's
    estimate passes every check, and is then tried at the other points. The first that passes at all
    of them is taken if it is confirmed, else what passes at most: a step size that disagrees with
    its half (over an equal time) gives way to it, and the estimate must lie clearly below what the
    pull alone gives (nβ = 0).

    Args:
        model: In eval mode; its weights are put back in the end.
        points: Weights of an early, a middle and a late snapshot, in this order.
        loss: Maps (model, batch) to a scalar or per-sample losses.
        batches: The run's fixed batches.
        generator: The only source of randomness.
        n_betas: Values of nβ to try.
        localizations: Values of γ to try.
        start: Everything else: method, chains, draws, burn-in. LM-SGLD, 4 chains of 150 draws after
            100 steps if None.

    Raises:
        ConfigError: If there is nothing to try.
        MetricError: If no setting passes; it says what spoke against the best ones.
    """
    if not (points and n_betas and localizations):
        raise ConfigError(
            f"calibrate on {len(points)} points, {len(n_betas)} n_betas, {len(localizations)} "
            "localizations: at least 1 of each is needed. Pass the weights of a late snapshot."
        )
    start = start or SamplerSettings(
        method="lm_sgld", num_chains=4, num_draws=150, num_burnin_steps=100
    )
    bench = _Bench(model, points, loss, batches, generator)
    before = snapshots.take(model)
    try:
        candidates = []
        for n_beta, pull in _by_preference(n_betas, localizations):
            tried = replace(start, n_beta=n_beta, localization=pull)
            candidate = _descend(bench, tried, points)
            if candidate and _num_passed(candidate) < len(points):
                candidates.append(candidate)  # until all are known, one may pass at more points
            elif candidate and (confirmed := _confirmed(bench, candidate)):
                return Calibration(*confirmed, tuple(bench.trials))
        for candidate in sorted(candidates, key=_num_passed, reverse=True):
            if confirmed := _confirmed(bench, candidate):
                return Calibration(*confirmed, tuple(bench.trials))
    finally:
        snapshots.load_into(model, before)
    raise MetricError(
        f"{len(bench.trials)} trials over n_beta {list(n_betas)} and localization "
        f"{list(localizations)}: none passed every check. {_most_common(bench.trials)}. Sample on "
        "more data, or pass other n_betas and localizations."
    )


def _descend(bench: _Bench, settings: SamplerSettings, points: Sequence[Any]) -> list[Trial] | None:
    """Return the trials at every point with the largest step size that the last one bears."""
    last, slow = len(points) - 1, 0
    for rung in range(LADDER_LENGTH):
        lr = 1 / max(settings.localization, 1.0) / LADDER**rung
        trial = bench.run(replace(settings, lr=lr), last)
        if trial.status is Status.OK:
            others = [bench.run(trial.settings, point) for point in range(last)]
            return [*others, trial]
        causes = {doubt.cause for doubt in trial.doubts}
        slow = slow + 1 if Cause.SLOW in causes else 0
        unmended = causes <= {Cause.SLOW, Cause.DISAGREE, Cause.SLOPE}
        if slow == 2 or unmended:
            return None  # smaller steps mix worse still, and do not mend a slope
    return None


def _by_preference(
    n_betas: Sequence[float], localizations: Sequence[float]
) -> list[tuple[float, float]]:
    return [
        (n_beta, pull) for n_beta in sorted(n_betas, reverse=True) for pull in sorted(localizations)
    ]


def _num_passed(candidate: list[Trial]) -> int:
    return sum(trial.status is Status.OK for trial in candidate)


def _confirmed(
    bench: _Bench, candidate: list[Trial]
) -> tuple[SamplerSettings, tuple[str, ...]] | None:
    """Return the settings that hold and the reasons to take them; None if none does."""
    trial = candidate[-1]
    for _ in range(MOST_HALVINGS):
        half = trial.settings.halved()
        slower = bench.run(half, trial.point, purpose="half")
        if slower.status is not Status.OK:
            return None
        if agree(trial, slower):
            break
        candidate = [bench.run(half, one.point) for one in candidate[:-1]] + [slower]
        trial = slower
    else:
        return None
    chosen = trial.settings
    assert chosen.n_beta is not None, "every candidate names its nβ"
    control = bench.run(chosen, trial.point, purpose="control")
    if trial.value > CONTROL_SHARE * control.value:  # a control that overflows (NaN) rose far more
        return None
    passed = _num_passed(candidate)
    return chosen, (
        f"lr {chosen.lr:.2g} passes every check, and half of it agrees: "
        f"{slower.value:.3g} ± {slower.se:.2g} against {trial.value:.3g} ± {trial.se:.2g}",
        f"at n_beta 0 the loss rises to {control.value:.3g} in the same units: the loss, not the "
        "pull alone, holds the chains",
        f"of {len(candidate)} points, {passed} pass every check; n_beta {chosen.n_beta:g} is the "
        f"largest at which as many do, and localization {chosen.localization:g} the weakest pull "
        f"with it (Gamma ratio {trial.gamma_ratio:.2f})",
        f"the draws' loss lies {trial.value / chosen.n_beta:.2g} above L(w*) on the last point: as "
        "much as training has gained would mean that chains see another landscape",
    )


def agree(trial: Trial | Diagnosis, slower: Trial | Diagnosis) -> bool:
    """Say whether two estimates agree, of which the second took smaller steps."""
    allowed = AGREE_SIGMAS * math.hypot(slower.se, trial.se)
    return abs(slower.value - trial.value) <= max(allowed, AGREE_SHARE * abs(trial.value))


def _trace(chains: Chains) -> npt.NDArray[np.floating]:
    with np.errstate(invalid="ignore", over="ignore"):
        return chains.n_beta * (chains.loss - chains.baseline).mean(axis=0)


def _most_common(trials: Sequence[Trial]) -> str:
    found: dict[Cause, list[str]] = {}
    for trial in trials:
        for doubt in trial.doubts:
            found.setdefault(doubt.cause, []).append(doubt.sentence)
    best = sorted(found.values(), key=len, reverse=True)[:2]
    return "Most often: " + "; ".join(f"{said[-1]} ({len(said)}×)" for said in best)
