"""Short estimates on the snapshots of a run, to choose the sampler's settings by."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from devtrack.model_state import snapshots
from devtrack.records import Status
from devtrack.sampling._user_loss import LossFunction
from devtrack.sampling.calibration._loss_landscape import (
    largest_curvature,
    mean_loss,
    untrained_loss,
)
from devtrack.sampling.chain_record import Chains
from devtrack.sampling.config import SamplerSettings
from devtrack.sampling.diagnostics import TOO_FEW_DRAWS, Cause, Diagnosis, Doubt
from devtrack.sampling.diagnostics._thresholds import SETTLED_MIN
from devtrack.sampling.estimator import estimate, path_of
from devtrack.sampling.sampler import sample

Purpose = Literal["pilot", "sweep", "half", "long", "control"]

PILOT_CHAINS = 2
PILOT_SHARE = 1 / 3
"""Chains of a pilot, and its share of draws and burn-in: a sixth of an estimate's cost."""

IMPRECISE_SHARE = 0.1
"""Standard error of an estimate at the last point, as a share of λ̂, beyond which a step size and
its half agree whatever they say: 13.8 ± 2.3 and 11.4 ± 1.2 (toy model of superposition, λ 8.5)."""

PULLED_MAX = 0.9
"""Chains whose loss rises by more than this share of what it rises by at nβ = 0 are held by the
pull, not by the loss."""

CONTROL_STEP = 0.2
"""Step size of the control as ε γ: no more than 5 % too high by SGLD, and soon settled."""


class Trial(NamedTuple):
    """One short estimate.

    Attributes:
        purpose: ``pilot``: a sixth of an estimate, which rules out what cannot work; ``sweep``;
            ``half``: at half the step size; ``long``: over a longer time; ``control``: at nβ = 0,
            where ``value`` is by how much the loss itself rises.
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

    @property
    def causes(self) -> set[Cause]:
        """What speaks against it."""
        return {doubt.cause for doubt in self.doubts}


class Bench:
    """Runs trials on the points and keeps them.

    Args:
        model: In eval mode; ends with other weights.
        points: Weights of snapshots; the last one is where training has led.
        loss: Maps (model, batch) to a scalar or per-sample losses.
        batches: The run's fixed batches.
        generator: The only source of randomness.
        untrained: Weights that training started from, where they are known.

    Attributes:
        trials: All that were run, in order.
        gained: What training has gained up to the last point: its loss below that of the weights
            that it started from, or of no weights at all, whichever is lower. Infinite if it has
            gained nothing, as at a minimum that was set by hand.
        curvature: The largest at any point.
        lost_max: Share of the gain beyond which chains that lose it are astray.
        pulled_max: Share of the rise at nβ = 0 beyond which the pull holds the chains.
    """

    def __init__(
        self,
        model: nn.Module,
        points: Sequence[snapshots.Tensors],
        loss: LossFunction,
        batches: Sequence[Any],
        generator: torch.Generator,
        untrained: snapshots.Tensors | None = None,
    ) -> None:
        self._model, self._points = model, points
        self._loss, self._batches, self._generator = loss, batches, generator
        self.trials: list[Trial] = []
        self._controls: dict[float, Trial] = {}
        self.lost_max, self.pulled_max = 1.0, PULLED_MAX
        self.curvature = max(self._curvature_at(point) for point in points)
        self.gained = self._gain(untrained)

    @property
    def last(self) -> int:
        """Index of the last point."""
        return len(self._points) - 1

    def run(self, settings: SamplerSettings, point: int, *, purpose: Purpose = "sweep") -> Trial:
        """Estimate at one point; the last one must be precise, and its chains where they belong."""
        used = _short(settings) if purpose == "pilot" else settings
        chains = self._sample(used, point)
        found = estimate(chains, used)
        doubts = found.doubts
        if purpose == "pilot":
            doubts = _foreseen(doubts, chains, used, settings)
        if point == self.last and purpose != "pilot":
            doubts += _doubts_about_precision(found)
        if point == self.last:
            doubts += self._doubts_about_place(doubts, found.value / chains.n_beta, settings)
        failed = found.status is Status.FAILED
        status = Status.FAILED if failed else Status.SUSPECT if doubts else Status.OK
        estimated = (found.value, found.se, found.gamma_ratio)
        return self._keep(
            Trial(purpose, point, settings, *estimated, status, doubts, _trace(chains))
        )

    def control(self, settings: SamplerSettings) -> Trial:
        """Return how far the pull alone lets the loss rise at the last point, found once per γ."""
        pull = settings.localization
        if pull not in self._controls:
            lr = CONTROL_STEP / max(pull, 1.0)
            used = replace(_short(settings), n_beta=0.0, lr=lr)
            trace = _trace(self._sample(used, self.last)._replace(n_beta=1.0))
            risen, nan = float(trace[used.num_burnin_steps :].mean()), math.nan
            self._controls[pull] = self._keep(
                Trial("control", self.last, used, risen, nan, nan, Status.OK, (), trace)
            )
        return self._controls[pull]

    def _sample(self, settings: SamplerSettings, point: int) -> Chains:
        snapshots.load_into(self._model, self._points[point])
        return sample(
            self._model, self._loss, self._batches, settings=settings, generator=self._generator
        )

    def _keep(self, trial: Trial) -> Trial:
        self.trials.append(trial)
        return trial

    def _doubts_about_place(
        self, doubts: tuple[Doubt, ...], risen: float, settings: SamplerSettings
    ) -> tuple[Doubt, ...]:
        """Say whether the chains' loss has risen too far, or as far as without the loss's hold.

        Chains that lose all that training has gained know of nothing that it found, and pass every
        other check: a modular MLP of loss 0.01 gave 637 at nβ 100, γ 100, where its chains' loss
        was 6.4 and that of chance is 4.7; at nβ 1000, γ 1000, it gave 169 with a loss of 0.18.
        """
        if risen > self.lost_max * self.gained:
            astray = (
                f"the chains' loss rises by {risen:.2g}, and training has gained {self.gained:.2g}:"
                " they see another landscape than it found; raise n_beta or localization"
            )
            return (Doubt(Cause.ASTRAY, astray),)
        if doubts:
            return ()  # what does not pass need not be compared
        alone = self.control(settings).value
        if risen > self.pulled_max * alone:  # one that overflows (NaN) rose far more
            pulled = (
                f"the chains' loss rises by {risen:.2g}, and by {alone:.2g} at n_beta 0: the pull "
                "holds them rather than the loss; lower localization, or raise n_beta"
            )
            return (Doubt(Cause.PULLED, pulled),)
        return ()

    def _curvature_at(self, point: snapshots.Tensors) -> float:
        snapshots.load_into(self._model, point)
        return largest_curvature(self._model, self._loss, self._batches, generator=self._generator)

    def _gain(self, untrained: snapshots.Tensors | None) -> float:
        snapshots.load_into(self._model, self._points[-1])
        now = mean_loss(self._model, self._loss, self._batches)
        marks = [untrained_loss(self._model, self._loss, self._batches)]
        if untrained is not None:
            snapshots.load_into(self._model, untrained)
            marks.append(mean_loss(self._model, self._loss, self._batches))
        gains = [mark - now for mark in marks if math.isfinite(mark) and mark > now]
        return min(gains, default=math.inf)


def expected_equilibrated_fraction(settings: SamplerSettings) -> float:
    """Return to what share a direction that the pull alone holds comes to rest, mean over draws.

    Its ⟨(w − w*)²⟩ goes to 1/γ as 1 − exp(−ε γ t).

    Example:
        >>> settings = SamplerSettings(lr=1e-3, localization=10.0, num_draws=100)
        >>> round(expected_equilibrated_fraction(settings), 2)
        0.77
    """
    steps = settings.num_burnin_steps + settings.num_steps_bw_draws * np.arange(settings.num_draws)
    return float(1 - np.exp(-settings.lr * settings.localization * steps).mean())


def _foreseen(
    doubts: tuple[Doubt, ...], chains: Chains, used: SamplerSettings, settings: SamplerSettings
) -> tuple[Doubt, ...]:
    """Return what so few draws can say, and whether chains would come to rest over all draws."""
    kept = [d for d in doubts if d.cause not in TOO_FEW_DRAWS]
    share = path_of(chains, used).equilibrated_fraction
    if settings.method == "rmsprop_sgld" or not share < 1:
        return tuple(kept)  # each direction has a step size of its own, or nothing is left to rest
    flat = (1 - share) / (
        1 - expected_equilibrated_fraction(used)
    )  # directions that the loss does not hold
    foreseen = 1 - flat * (1 - expected_equilibrated_fraction(settings))
    if foreseen < SETTLED_MIN:
        sentence = (
            f"{1 - foreseen:.0%} of the directions would not settle: raise localization, "
            "num_burnin_steps or lr, or lower n_beta"
        )
        kept.append(Doubt(Cause.UNSETTLED, sentence))
    return tuple(kept)


def _doubts_about_precision(found: Diagnosis) -> tuple[Doubt, ...]:
    share = found.se / abs(found.value)
    if not share > IMPRECISE_SHARE:
        return ()
    imprecise = (
        f"the standard error is {share:.0%} of λ̂: chains move too slowly; raise num_draws, lr or "
        "localization"
    )
    return (Doubt(Cause.SLOW, imprecise),)


def _short(settings: SamplerSettings) -> SamplerSettings:
    return replace(
        settings,
        num_chains=min(PILOT_CHAINS, settings.num_chains),
        num_draws=max(1, round(PILOT_SHARE * settings.num_draws)),
        num_burnin_steps=round(PILOT_SHARE * settings.num_burnin_steps),
    )


def _trace(chains: Chains) -> npt.NDArray[np.floating]:
    with np.errstate(invalid="ignore", over="ignore"):
        return chains.n_beta * (chains.loss - chains.baseline).mean(axis=0)
