"""From chains to an estimate: the LLC in its own units, and what the chains' looks say of it."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from devtrack.diagnostics import Diagnosis, Path, diagnose
from devtrack.sampling.chains import Chains
from devtrack.sampling.quieting import Floats, Signal, quiet_signal
from devtrack.sampling.settings import SamplerSettings


def estimate(
    chains: Chains, settings: SamplerSettings, *, checks: Literal["on", "off"] = "on"
) -> Diagnosis:
    """Return λ̂ = nβ (E[L(w)] − L(w*)) with its status, from ``signal_of`` the chains.

    Args:
        chains: From ``sample`` with the same settings.
        settings: The sampler's settings.
        checks: See ``diagnose``.

    Raises:
        ConfigError: If there is one chain only and ``checks`` is on.
    """
    return diagnose(
        signal_of(chains, settings).values,
        _full_signal(chains),
        num_parameters=chains.num_parameters,
        path=path_of(chains, settings),
        checks=checks,
    )


def signal_of(chains: Chains, settings: SamplerSettings) -> Signal:
    """Return what λ̂ is the mean of: the ``quiet_signal``, or the looks at all batches.

    A draw is met on the batch that the chain is about to step on. In random orders of the batches
    it has gone long without this one, which hence suits the weights worse than the data at large
    do: λ̂ from draws is too high, in first order of ε and of the variance of gradients over batches
    (modular MLP of ``experiments.bench.llc``: at lr 6e-4 663 at draws and 640 ± 1.4 at looks, at
    lr 1e-4 645 and 639 ± 1.2). A look at all batches knows no such excess, and what the steps' own
    noise adds is of second order (symmetric orders: Paulin et al. 2024, arXiv:2410.19780).

    Args:
        chains: From ``sample`` with the same settings.
        settings: The sampler's settings.
    """
    if settings.measure_at == "looks":
        return Signal(_full_signal(chains), "all")
    return quiet_signal(chains, num_burnin_steps=settings.num_burnin_steps)


def _full_signal(chains: Chains) -> Floats:
    with np.errstate(over="ignore", invalid="ignore"):  # chains on their way to infinity
        return chains.n_beta * (chains.full_loss - chains.full_baseline)


def path_of(chains: Chains, settings: SamplerSettings) -> Path:
    """Return what the chains' looks say beyond the loss.

    A step of size ε heats a quadratic by (ε/8) nβ² E‖∇L_m‖² in units of λ̂: ½ Σ nβh · ε/4 over its
    curvatures h, and what the choice of batch adds, (ε/8) nβ² σ² with σ² = E‖∇L_m − ∇L‖². LM-SGLD
    keeps the latter only. Where chains remember more than an order of the batches, it is no heat
    but what draws are met too high by (see ``signal_of``): .6 to 1 of what is foretold, on the MLP
    and the LM of ``experiments.bench.llc_calibrate`` and on bowls, and less at looks. Where steps
    are scaled per parameter the squares are (``Update.product``).

    Integration by parts gives E[(w − w*)·(nβ ∇L + γ(w − w*))] = 1 per parameter at equilibrium,
    whatever the loss. A direction in which chains still diffuse counts for less, so that the mean
    is the share of directions that have come to rest.
    """
    is_averaged = settings.method == "lm_sgld"
    heating = _gradient_noise(chains) if is_averaged else mean_of_finite(chains.squared_gradient)
    step_bias = settings.lr / 8 * chains.n_beta**2 * heating
    pull = settings.localization * mean_of_finite(chains.squared_distance)
    drawn = slice(settings.num_burnin_steps, None)
    with np.errstate(over="ignore", invalid="ignore"):
        virial = chains.n_beta * chains.virial[:, drawn]
        signal = chains.n_beta * (chains.loss - chains.baseline)[:, drawn]
        anharmonic = 0.5 * virial - signal
        if settings.measure_at == "looks":  # one for each, like the signal
            looks = np.array_split(anharmonic, chains.full_loss.shape[1], axis=1)
            anharmonic = np.stack([draws.mean(axis=1) for draws in looks], axis=1)
    return Path(
        slope=chains.n_beta * chains.first_order,
        step_bias=step_bias,
        pull=pull / chains.num_parameters,
        settled=(mean_of_finite(virial) + pull) / chains.num_parameters,
        anharmonic=anharmonic,
    )


def _gradient_noise(chains: Chains) -> float:
    """Return what the choice of batch adds to a squared gradient, where the chains are.

    Far from w* it may be hundreds of times what it is there. Two batches in a row are two looks at
    one gradient, a step apart, which takes for noise what the step has changed as well; in an order
    of K batches their noises are correlated by −1 / (K − 1).
    """
    count = chains.num_batches
    if count == 1:
        return 0.0
    with np.errstate(over="ignore", invalid="ignore"):  # chains on their way to infinity
        along = mean_of_finite(chains.squared_gradient - chains.cross_gradient)
    if math.isnan(along):  # a look after every step
        return chains.gradient_noise
    return max(along * (count - 1) / count, 0.0)


def pull_share(chains: Chains, value: float) -> float:
    """Return how far the chains' loss rises over how far it rises under the pull alone.

    On a quadratic without negative curvature, λ has lost at least this share of itself to the pull.
    At curvature h a direction keeps s = nβh / (nβh + γ), and loses 1 − s. This is
    Σ s / Σ (s / (1 − s)), the mean of 1 − s with weights that are the smaller, the more is lost.
    Where one large curvature makes most of the rise, it is far less than what is lost.

    Gates (``experiments.bench.llc_trust``): up to .05 at good settings; .2 where λ̂ is 10 to 40 %
    too low; from .3 on where it is half of what it should be. Networks that learned a task have .4
    to 1 at all settings at which chains stay near them, and no λ̂ that γ has no part in, so that it
    is told and not doubted.

    Args:
        chains: From ``sample``.
        value: λ̂ from them.
    """
    if not (chains.n_beta > 0 and chains.rise_by_pull > 0):
        return math.nan
    return value / chains.n_beta / chains.rise_by_pull


def mean_of_finite(values: np.ndarray) -> float:
    """Return the mean of what is finite; NaN if nothing is."""
    finite = values[np.isfinite(values)]
    with np.errstate(over="ignore"):
        return float(finite.mean()) if finite.size else math.nan
