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
    zero_weight_loss,
)
from devtrack.sampling.chain_record import Chains
from devtrack.sampling.config import SamplerConfig
from devtrack.sampling.diagnostics import TOO_FEW_DRAWS, Diagnosis, QualityWarning, WarningCode
from devtrack.sampling.diagnostics._thresholds import SETTLED_MIN
from devtrack.sampling.estimator import estimate, observables
from devtrack.sampling.sampler import sample

Purpose = Literal["pilot", "sweep", "half", "long", "control"]

PILOT_CHAINS = 2
PILOT_SHARE = 1 / 3
"""Chains of a pilot, and its share of draws and burn-in: a sixth of an estimate's cost."""

IMPRECISE_SHARE = 0.1
"""Standard error of an estimate at the last point, as a share of λ̂, beyond which a step size and
its half agree whatever they say: 13.8 ± 2.3 and 11.4 ± 1.2 (toy model of superposition, λ 8.5)."""

MAX_LOCALIZATION_SHARE = 0.9
"""Chains whose loss rises by more than this share of what it rises by at nβ = 0 are held by the
pull, not by the loss."""

CONTROL_STEP = 0.2
"""Step size of the control as ε γ: no more than 5 % too high by SGLD, and soon settled."""


class Trial(NamedTuple):
    """One short estimate.

    Attributes:
        purpose: ``pilot``: a sixth of an estimate, which rules out what cannot work; ``sweep``;
            ``half``: at half the step size; ``long``: over a longer time; ``prior_control``: at nβ
            = 0, where ``value`` is by how much the loss itself rises.
        point: Index of the snapshot.
        config: What was tried.
        value, se, gamma_ratio: The estimate.
        status, warnings: Trust in it.
        trace: Mean signal of all chains, burn-in included, (draw,).
    """

    purpose: Purpose
    point: int
    config: SamplerConfig
    value: float
    se: float
    gamma_ratio: float
    status: Status
    warnings: tuple[QualityWarning, ...]
    trace: npt.NDArray[np.floating]

    @property
    def codes(self) -> set[WarningCode]:
        """What speaks against it."""
        return {warning.code for warning in self.warnings}


class TrialRunner:
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
        training_gain: What training has gained up to the last point: its loss below that of the
            weights that it started from, or of no weights at all, whichever is lower. Infinite if
            it has gained nothing, as at a minimum that was set by hand.
        curvature: The largest at any point.
        max_loss_increase: Share of the gain beyond which chains that lose it are astray.
        max_localization_share: Share of the rise at nβ = 0 beyond which the pull holds the chains.
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
        self._prior_controls: dict[float, Trial] = {}
        self.max_loss_increase, self.max_localization_share = 1.0, MAX_LOCALIZATION_SHARE
        self.curvature = max(self._curvature_at(point) for point in points)
        self.training_gain = self._training_gain(untrained)

    @property
    def last(self) -> int:
        """Index of the last point."""
        return len(self._points) - 1

    def run(self, config: SamplerConfig, point: int, *, purpose: Purpose = "sweep") -> Trial:
        """Estimate at one point; the last one must be precise, and its chains where they belong."""
        used = _short(config) if purpose == "pilot" else config
        chains = self._sample(used, point)
        found = estimate(chains, used)
        warnings = found.warnings
        if purpose == "pilot":
            warnings = _predicted_warnings(warnings, chains, used, config)
        if point == self.last and purpose != "pilot":
            warnings += _precision_warnings(found)
        if point == self.last:
            warnings += self._place_warnings(warnings, found.value / chains.n_beta, config)
        failed = found.status is Status.FAILED
        status = Status.FAILED if failed else Status.SUSPECT if warnings else Status.OK
        estimated = (found.value, found.se, found.gamma_ratio)
        return self._keep(
            Trial(purpose, point, config, *estimated, status, warnings, _trace(chains))
        )

    def prior_control(self, config: SamplerConfig) -> Trial:
        """Return how far the pull alone lets the loss rise at the last point, found once per γ."""
        localization = config.localization
        if localization not in self._prior_controls:
            lr = CONTROL_STEP / max(localization, 1.0)
            used = replace(_short(config), n_beta=0.0, lr=lr)
            trace = _trace(self._sample(used, self.last)._replace(n_beta=1.0))
            loss_increase, nan = float(trace[used.num_burnin_steps :].mean()), math.nan
            self._prior_controls[localization] = self._keep(
                Trial("control", self.last, used, loss_increase, nan, nan, Status.OK, (), trace)
            )
        return self._prior_controls[localization]

    def _sample(self, config: SamplerConfig, point: int) -> Chains:
        snapshots.load_into(self._model, self._points[point])
        return sample(
            self._model, self._loss, self._batches, config=config, generator=self._generator
        )

    def _keep(self, trial: Trial) -> Trial:
        self.trials.append(trial)
        return trial

    def _place_warnings(
        self, warnings: tuple[QualityWarning, ...], loss_increase: float, config: SamplerConfig
    ) -> tuple[QualityWarning, ...]:
        """Say whether the chains' loss has risen too far, or as far as without the loss's hold.

        Chains that lose all that training has gained know of nothing that it found, and pass every
        other check: a modular MLP of loss 0.01 gave 637 at nβ 100, γ 100, where its chains' loss
        was 6.4 and that of chance is 4.7; at nβ 1000, γ 1000, it gave 169 with a loss of 0.18.
        """
        if loss_increase > self.max_loss_increase * self.training_gain:
            astray = (
                f"the chains' loss rises by {loss_increase:.2g}, and training has gained "
                f"{self.training_gain:.2g}: they see another landscape than it found; "
                "raise n_beta or localization"
            )
            return (QualityWarning(WarningCode.LEFT_BASIN, astray),)
        if warnings:
            return ()  # what does not pass need not be compared
        prior_increase = self.prior_control(config).value
        if (
            loss_increase > self.max_localization_share * prior_increase
        ):  # one that overflows (NaN) rose far more
            pulled = (
                f"the chains' loss rises by {loss_increase:.2g}, and by {prior_increase:.2g} at "
                "n_beta 0: the pull holds them rather than the loss; lower localization, or raise n_beta"
            )
            return (QualityWarning(WarningCode.LOCALIZATION_DOMINATED, pulled),)
        return ()

    def _curvature_at(self, point: snapshots.Tensors) -> float:
        snapshots.load_into(self._model, point)
        return largest_curvature(self._model, self._loss, self._batches, generator=self._generator)

    def _training_gain(self, untrained: snapshots.Tensors | None) -> float:
        snapshots.load_into(self._model, self._points[-1])
        now = mean_loss(self._model, self._loss, self._batches)
        marks = [zero_weight_loss(self._model, self._loss, self._batches)]
        if untrained is not None:
            snapshots.load_into(self._model, untrained)
            marks.append(mean_loss(self._model, self._loss, self._batches))
        gains = [mark - now for mark in marks if math.isfinite(mark) and mark > now]
        return min(gains, default=math.inf)


def expected_equilibrated_fraction(config: SamplerConfig) -> float:
    """Return to what share a direction that the pull alone holds comes to rest, mean over draws.

    Its ⟨(w − w*)²⟩ goes to 1/γ as 1 − exp(−ε γ t).

    Example:
        >>> settings = SamplerSettings(lr=1e-3, localization=10.0, num_draws=100)
        >>> round(expected_equilibrated_fraction(settings), 2)
        0.77
    """
    steps = config.num_burnin_steps + config.num_steps_bw_draws * np.arange(config.num_draws)
    return float(1 - np.exp(-config.lr * config.localization * steps).mean())


def _predicted_warnings(
    warnings: tuple[QualityWarning, ...], chains: Chains, used: SamplerConfig, config: SamplerConfig
) -> tuple[QualityWarning, ...]:
    """Return what so few draws can say, and whether chains would come to rest over all draws."""
    kept = [d for d in warnings if d.code not in TOO_FEW_DRAWS]
    share = observables(chains, used).equilibrated_fraction
    if config.method == "rmsprop_sgld" or not share < 1:
        return tuple(kept)  # each direction has a step size of its own, or nothing is left to rest
    flat = (1 - share) / (
        1 - expected_equilibrated_fraction(used)
    )  # directions that the loss does not hold
    predicted = 1 - flat * (1 - expected_equilibrated_fraction(config))
    if predicted < SETTLED_MIN:
        message = (
            f"{1 - predicted:.0%} of the directions would not settle: raise localization, "
            "num_burnin_steps or lr, or lower n_beta"
        )
        kept.append(QualityWarning(WarningCode.NOT_EQUILIBRATED, message))
    return tuple(kept)


def _precision_warnings(found: Diagnosis) -> tuple[QualityWarning, ...]:
    share = found.se / abs(found.value)
    if not share > IMPRECISE_SHARE:
        return ()
    imprecise = (
        f"the standard error is {share:.0%} of λ̂: chains move too slowly; raise num_draws, lr or "
        "localization"
    )
    return (QualityWarning(WarningCode.LOW_ESS, imprecise),)


def _short(config: SamplerConfig) -> SamplerConfig:
    return replace(
        config,
        num_chains=min(PILOT_CHAINS, config.num_chains),
        num_draws=max(1, round(PILOT_SHARE * config.num_draws)),
        num_burnin_steps=round(PILOT_SHARE * config.num_burnin_steps),
    )


def _trace(chains: Chains) -> npt.NDArray[np.floating]:
    with np.errstate(invalid="ignore", over="ignore"):
        return chains.n_beta * (chains.loss - chains.baseline).mean(axis=0)
