"""From chains to an estimate: the LLC in its own units, and what the chains' looks say of it."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from devtrack.diagnostics import Diagnosis, Path, diagnose
from devtrack.sampling.chains import Chains
from devtrack.sampling.quieting import quiet_signal
from devtrack.sampling.settings import SamplerSettings


def estimate(
    chains: Chains, settings: SamplerSettings, *, checks: Literal["on", "off"] = "on"
) -> Diagnosis:
    """Return λ̂ = nβ (E[L(w)] − L(w*)) with its status, from the ``quiet_signal``.

    Args:
        chains: From ``sample`` with the same settings.
        settings: The sampler's settings.
        checks: See ``diagnose``.

    Raises:
        ConfigError: If there is one chain only and ``checks`` is on.
    """
    signal = quiet_signal(chains, num_burnin_steps=settings.num_burnin_steps).values
    with np.errstate(over="ignore", invalid="ignore"):  # chains on their way to infinity
        full_signal = chains.n_beta * (chains.full_loss - chains.full_baseline)
    return diagnose(
        signal,
        full_signal,
        num_parameters=chains.num_parameters,
        path=path_of(chains, settings),
        checks=checks,
    )


def path_of(chains: Chains, settings: SamplerSettings) -> Path:
    """Return what the chains' looks say beyond the loss.

    A step of size ε heats a quadratic by (ε/8) nβ² E‖∇L_m‖² in units of λ̂: ½ Σ nβh · ε/4 over its
    curvatures h, and what the choice of batch adds. LM-SGLD keeps the latter only.

    Integration by parts gives E[(w − w*)·(nβ ∇L + γ(w − w*))] = 1 per parameter at equilibrium,
    whatever the loss. A direction in which chains still diffuse counts for less, so that the mean
    is the share of directions that have come to rest.
    """
    heat = settings.lr / 8 * chains.n_beta**2
    step_bias = {
        "sgld": heat * mean_of_finite(chains.squared_gradient),
        "lm_sgld": heat * chains.gradient_noise,
        "rmsprop_sgld": math.nan,
    }[settings.method]
    pull = settings.localization * mean_of_finite(chains.squared_distance)
    drawn = slice(settings.num_burnin_steps, None)
    with np.errstate(over="ignore", invalid="ignore"):
        virial = chains.n_beta * chains.virial[:, drawn]
        signal = chains.n_beta * (chains.loss - chains.baseline)[:, drawn]
        anharmonic = 0.5 * virial - signal
    return Path(
        slope=chains.n_beta * chains.first_order,
        step_bias=step_bias,
        pull=pull / chains.num_parameters,
        settled=(mean_of_finite(virial) + pull) / chains.num_parameters,
        anharmonic=anharmonic,
    )


def mean_of_finite(values: np.ndarray) -> float:
    """Return the mean of what is finite; NaN if nothing is."""
    finite = values[np.isfinite(values)]
    with np.errstate(over="ignore"):
        return float(finite.mean()) if finite.size else math.nan
