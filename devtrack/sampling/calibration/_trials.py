"""Short estimates on the snapshots of a run, to choose the sampler's hyperparameters."""

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
from devtrack.sampling.calibration.config import DEFAULT, CalibrationConfig
from devtrack.sampling.chain_record import Chains
from devtrack.sampling.config import SamplerConfig
from devtrack.sampling.diagnostics import (
    TOO_FEW_DRAWS,
    DiagnosticsConfig,
    QualityWarning,
    WarningCode,
)
from devtrack.sampling.diagnostics.config import DEFAULT as DEFAULT_THRESHOLDS
from devtrack.sampling.estimator import LLCEstimate, estimate
from devtrack.sampling.kernels import kernel_class
from devtrack.sampling.sampler import sample

Purpose = Literal["pilot", "sweep", "half", "long", "control"]


class Trial(NamedTuple):
    """One short estimate.

    Attributes:
        purpose: A ``pilot`` is a sixth of an estimate and rules out what cannot work. A ``sweep``
            is a full estimate, ``half`` one at half the step size, and ``long`` one over a longer
            time. A ``control`` is at nβ = 0, where ``value`` is the loss increase itself.
        point: Index of the snapshot.
        config: The hyperparameters.
        value, se, gamma_ratio: The estimate.
        status, warnings: Trust in it.
        trace: Mean nβ (L(w) − L(w*)) of all chains, burn-in included, (draw,).
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
        """Codes of the warnings."""
        return {warning.code for warning in self.warnings}


class TrialRunner:
    """Runs trials on the snapshots and keeps them.

    Args:
        model: In eval mode; ends with other weights.
        points: Weights of snapshots; the last one is the end of training.
        loss: Maps (model, batch) to a scalar or per-sample losses.
        batches: The run's fixed batches.
        generator: The only source of randomness.
        untrained: Weights at the start of training, if known.
        criteria: Constants of the calibration.
        thresholds: Thresholds of the quality checks.

    Attributes:
        trials: All trials, in order.
        training_gain: Loss decrease by training up to the last snapshot. It is measured from the
            initial weights or from zero weights, whichever has the lower loss. Infinite if there is
            none, as at a minimum that was set by hand.
        curvature: The largest Hessian eigenvalue at any snapshot.
        max_loss_increase: Share of the training gain beyond which chains have left the basin.
        max_localization_share: Share of the localization-only loss increase (nβ = 0) beyond which
            the prior confines the chains.
    """

    def __init__(
        self,
        model: nn.Module,
        points: Sequence[snapshots.Tensors],
        loss: LossFunction,
        batches: Sequence[Any],
        generator: torch.Generator,
        untrained: snapshots.Tensors | None = None,
        *,
        criteria: CalibrationConfig = DEFAULT,
        thresholds: DiagnosticsConfig = DEFAULT_THRESHOLDS,
    ) -> None:
        self._model, self._points = model, points
        self._loss, self._batches, self._generator = loss, batches, generator
        self.criteria, self._thresholds = criteria, thresholds
        self.trials: list[Trial] = []
        self._prior_controls: dict[float, Trial] = {}
        self.max_loss_increase = 1.0
        self.max_localization_share = criteria.max_localization_share
        self.curvature = max(self._curvature_at(point) for point in points)
        self.training_gain = self._training_gain(untrained)

    @property
    def last(self) -> int:
        """Index of the last snapshot."""
        return len(self._points) - 1

    def run(self, config: SamplerConfig, point: int, *, purpose: Purpose = "sweep") -> Trial:
        """Estimate at one snapshot.

        At the last one the estimate must also be precise, and its chains must stay in the basin.
        """
        is_pilot = purpose == "pilot"
        used = self._shortened(config) if is_pilot else config
        chains = self._sample(used, point)
        found = estimate(chains, used, thresholds=self._thresholds)
        warnings = found.warnings
        if is_pilot:
            warnings = self._predicted_warnings(found, used, config)
        if point == self.last and not is_pilot:
            warnings += self._precision_warnings(found)
        if point == self.last:
            warnings += self._place_warnings(warnings, found.value / chains.n_beta, config)
        failed = found.status is Status.FAILED
        status = Status.FAILED if failed else Status.SUSPECT if warnings else Status.OK
        numbers = (found.value, found.se, found.gamma_ratio)
        return self._keep(Trial(purpose, point, config, *numbers, status, warnings, _trace(chains)))

    def prior_control(self, config: SamplerConfig) -> Trial:
        """Return the loss increase at the last snapshot under the prior alone, once per γ."""
        gamma = config.localization
        if gamma not in self._prior_controls:
            lr = self.criteria.control_step / max(gamma, 1.0)
            used = replace(self._shortened(config), n_beta=0.0, lr=lr)
            trace = _trace(self._sample(used, self.last)._replace(n_beta=1.0))
            increase, nan = float(trace[used.num_burnin_steps :].mean()), math.nan
            self._prior_controls[gamma] = self._keep(
                Trial("control", self.last, used, increase, nan, nan, Status.OK, (), trace)
            )
        return self._prior_controls[gamma]

    def _sample(self, config: SamplerConfig, point: int) -> Chains:
        snapshots.load_into(self._model, self._points[point])
        return sample(
            self._model, self._loss, self._batches, config=config, generator=self._generator
        )

    def _keep(self, trial: Trial) -> Trial:
        self.trials.append(trial)
        return trial

    def _shortened(self, config: SamplerConfig) -> SamplerConfig:
        """Return the hyperparameters of a pilot."""
        share = self.criteria.pilot_share
        return replace(
            config,
            num_chains=min(self.criteria.pilot_chains, config.num_chains),
            num_draws=max(1, round(share * config.num_draws)),
            num_burnin_steps=round(share * config.num_burnin_steps),
        )

    def _predicted_warnings(
        self, pilot: LLCEstimate, used: SamplerConfig, config: SamplerConfig
    ) -> tuple[QualityWarning, ...]:
        """Return the warnings of a pilot that also hold for a full estimate.

        A pilot has few draws, so warnings that more draws remove are left out. Whether all
        directions equilibrate over all draws is extrapolated.
        """
        kept = [warning for warning in pilot.warnings if warning.code not in TOO_FEW_DRAWS]
        share = pilot.observables.equilibrated_fraction
        if kernel_class(config.method).is_preconditioned or not share < 1:
            return tuple(kept)  # step sizes differ by direction, or all have equilibrated
        flat = (1 - share) / (1 - expected_equilibrated_fraction(used))  # not held by the loss
        predicted = 1 - flat * (1 - expected_equilibrated_fraction(config))
        if predicted < self._thresholds.equilibrated_min:
            message = (
                f"{1 - predicted:.0%} of the directions would not equilibrate: raise localization, "
                "num_burnin_steps or lr, or lower n_beta"
            )
            kept.append(QualityWarning(WarningCode.NOT_EQUILIBRATED, message))
        return tuple(kept)

    def _precision_warnings(self, found: LLCEstimate) -> tuple[QualityWarning, ...]:
        share = found.se / abs(found.value)
        if not share > self.criteria.imprecise_share:
            return ()
        message = (
            f"the standard error is {share:.0%} of λ̂: chains move too slowly; raise num_draws, lr "
            "or localization"
        )
        return (QualityWarning(WarningCode.LOW_ESS, message),)

    def _place_warnings(
        self, warnings: tuple[QualityWarning, ...], loss_increase: float, config: SamplerConfig
    ) -> tuple[QualityWarning, ...]:
        """Warn if chains left the basin, or if the prior rather than the loss confines them.

        Chains that lose all that training has gained depend on nothing that training found. They
        can pass every other check.
        """
        if loss_increase > self.max_loss_increase * self.training_gain:
            message = (
                f"the chains' loss rises by {loss_increase:.2g}, and training has gained "
                f"{self.training_gain:.2g}: they left the basin that training found; raise n_beta "
                "or localization"
            )
            return (QualityWarning(WarningCode.LEFT_BASIN, message),)
        if warnings:
            return ()  # a trial that failed already needs no control
        prior_increase = self.prior_control(config).value
        limit = self.max_localization_share * prior_increase
        if loss_increase > limit:  # False if the control overflowed to NaN: it rose far more
            message = (
                f"the chains' loss rises by {loss_increase:.2g}, and by {prior_increase:.2g} at "
                "n_beta 0: localization rather than the loss confines them; lower localization, or "
                "raise n_beta"
            )
            return (QualityWarning(WarningCode.LOCALIZATION_DOMINATED, message),)
        return ()

    def _curvature_at(self, point: snapshots.Tensors) -> float:
        snapshots.load_into(self._model, point)
        return largest_curvature(self._model, self._loss, self._batches, generator=self._generator)

    def _training_gain(self, untrained: snapshots.Tensors | None) -> float:
        snapshots.load_into(self._model, self._points[-1])
        now = mean_loss(self._model, self._loss, self._batches)
        references = [zero_weight_loss(self._model, self._loss, self._batches)]
        if untrained is not None:
            snapshots.load_into(self._model, untrained)
            references.append(mean_loss(self._model, self._loss, self._batches))
        gains = [loss - now for loss in references if math.isfinite(loss) and loss > now]
        return min(gains, default=math.inf)


def expected_equilibrated_fraction(config: SamplerConfig) -> float:
    """Return the equilibrated fraction of a direction constrained only by localization.

    Its ⟨(w − w*)²⟩ approaches 1/γ as 1 − exp(−εγt); the result is the mean over the draws.

    Example:
        >>> config = SamplerConfig(lr=1e-3, localization=10.0, num_draws=100)
        >>> round(expected_equilibrated_fraction(config), 2)
        0.77
    """
    steps = config.num_burnin_steps + config.num_steps_bw_draws * np.arange(config.num_draws)
    return float(1 - np.exp(-config.lr * config.localization * steps).mean())


def _trace(chains: Chains) -> npt.NDArray[np.floating]:
    with np.errstate(invalid="ignore", over="ignore"):
        return chains.n_beta * (chains.loss - chains.baseline).mean(axis=0)
