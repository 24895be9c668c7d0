"""From chains to an estimate: the LLC in its own units, and what the chains' looks say of it."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np

from devtrack.diagnostics import Diagnosis, Path, diagnose
from devtrack.diagnostics.bands import STEP_BIAS_SHARE
from devtrack.diagnostics.failures import failed_chains
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

    Both without what the step size has added to them (``Heat``), as far as it can be foretold: up
    to ``STEP_BIAS_SHARE`` of λ̂, beyond which the estimate is doubted. Small networks, and the
    tasks of ``experiments.bench.llc``, at step sizes that add 1 to 8 % to λ̂ by SGLD and by LM-SGLD:
    what is left lies between -3 and 3 % (two to eight estimates each, known to 1 to 2 %).

    Args:
        chains: From ``sample`` with the same settings.
        settings: The sampler's settings.
    """
    at_looks = settings.measure_at == "looks"
    signal = quiet_signal(chains, num_burnin_steps=settings.num_burnin_steps)
    if at_looks:
        signal = Signal(_full_signal(chains), "all")
    means = signal.values.mean(axis=1)
    _, holds = failed_chains(means, chains.num_parameters)
    if not holds.any():
        return signal
    heat = heat_of(chains, settings)
    added = heat.steps if at_looks and chains.num_batches > 1 else heat.steps + heat.batches
    most = STEP_BIAS_SHARE / (1 + STEP_BIAS_SHARE) * float(means[holds].mean())
    removed = min(added, max(most, 0.0)) if math.isfinite(added) else 0.0
    return Signal(signal.values - removed, signal.control, removed)


class Heat(NamedTuple):
    """What a step of size ε adds to λ̂ at draws, where the loss is a quadratic.

    Attributes:
        steps: (ε/8) nβ E[∇L·(nβ ∇L + γ(w − w*))], the error of SGLD's own discretisation, exact at
            every step size. LM-SGLD knows none; the pull's part is left out for RMSProp-SGLD.
        batches: (ε/8) nβ² σ² with σ² = E‖∇L_m − ∇L‖², what the choice of batch adds.

    Chains that forget within an order of the batches are heated by their gradients' noise as by
    their own. Others walk through whole orders, whose noise cancels, as in gradient descent on
    L + (ε nβ / 8) σ² (Smith et al. 2021, arXiv:2101.12176): they avoid places where gradients are
    noisy, and looks at all batches come out too low by (ε/8) nβ² Cov(nβL, σ²), which is
    (ε/8) nβ² σ² where batches agree on w*. Yet a draw is met on the batch that the chain is about
    to step on and has gone long without, in first order of ε: (ε/4) nβ² σ² above the looks. Both
    ways the same is left at draws. Found of it: all on bowls, .5 to 1.1 on small networks, .6 to .8
    on the modular MLP and the LM, whose noise grows faster than their loss; twice as much where
    the noise is the same everywhere. At looks it is of second order for chains of the one kind and
    changes sign for the other: there it is told, and not taken out.
    """

    steps: float
    batches: float


def heat_of(chains: Chains, settings: SamplerSettings) -> Heat:
    """Return what steps add to λ̂, from the squares of gradients along the chains that hold.

    Where steps are scaled per parameter the squares are (``Update.product``).
    """
    drawn = slice(settings.num_burnin_steps, None)
    with np.errstate(over="ignore", invalid="ignore"):  # chains on their way to infinity
        means = chains.n_beta * (chains.loss - chains.baseline)[:, drawn].mean(axis=1)
    _, holds = failed_chains(means, chains.num_parameters)
    squared, cross = chains.squared_gradient[holds], chains.cross_gradient[holds]
    noise = chains.n_beta**2 * _gradient_noise(chains, squared, cross)
    steps = max(chains.n_beta**2 * mean_of_finite(squared) - noise, 0.0)
    if settings.method == "lm_sgld":
        steps = 0.0
    if settings.method == "sgld":
        virial = mean_of_finite(chains.virial[holds, drawn])
        steps += chains.n_beta * settings.localization * virial
    return Heat(settings.lr / 8 * steps, settings.lr / 8 * noise)


def _full_signal(chains: Chains) -> Floats:
    with np.errstate(over="ignore", invalid="ignore"):  # chains on their way to infinity
        return chains.n_beta * (chains.full_loss - chains.full_baseline)


def path_of(chains: Chains, settings: SamplerSettings) -> Path:
    """Return what the chains' looks say beyond the loss.

    Integration by parts gives E[(w − w*)·(nβ ∇L + γ(w − w*))] = 1 per parameter at equilibrium,
    whatever the loss. A direction in which chains still diffuse counts for less, so that the mean
    is the share of directions that have come to rest.
    """
    heat = heat_of(chains, settings)
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
        step_bias=heat.steps + heat.batches,
        pull=pull / chains.num_parameters,
        settled=(mean_of_finite(virial) + pull) / chains.num_parameters,
        anharmonic=anharmonic,
    )


def _gradient_noise(chains: Chains, squared: Floats, cross: Floats) -> float:
    """Return what the choice of batch adds to a squared gradient, where the chains are.

    Far from w* it may be hundreds of times what it is there. Two batches in a row are two looks at
    one gradient, a step apart, which takes for noise what the step has changed as well; in an order
    of K batches their noises are correlated by −1 / (K − 1).
    """
    count = chains.num_batches
    if count == 1:
        return 0.0
    with np.errstate(over="ignore", invalid="ignore"):  # chains on their way to infinity
        along = mean_of_finite(squared - cross)
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
