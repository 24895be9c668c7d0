"""From chains to an estimate: the LLC in its own units, and what the chains' looks say of it."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from devtrack.diagnostics import Diagnosis, Path, diagnose
from devtrack.sampling.chains import Chains
from devtrack.sampling.settings import SamplerSettings


def estimate(
    chains: Chains, settings: SamplerSettings, *, checks: Literal["on", "off"] = "on"
) -> Diagnosis:
    """Return λ̂ = nβ (E[L(w)] − L(w*)) with its status; every draw is paired with its own baseline.

    Args:
        chains: From ``sample`` with the same settings.
        settings: The sampler's settings.
        checks: See ``diagnose``.

    Raises:
        ConfigError: If there is one chain only and ``checks`` is on.
    """
    drawn = slice(settings.num_burnin_steps, None)
    with np.errstate(over="ignore", invalid="ignore"):  # chains on their way to infinity
        signal = chains.n_beta * (chains.loss - chains.baseline)[:, drawn]
        full_signal = chains.n_beta * (chains.full_loss - chains.full_baseline)
        path = path_of(chains, settings)
    return diagnose(
        signal,
        full_signal,
        num_parameters=chains.num_parameters,
        path=path,
        checks=checks,
    )


def path_of(chains: Chains, settings: SamplerSettings) -> Path:
    """Return what the chains' looks say beyond the loss.

    A step of size ε heats a quadratic by (ε/8) nβ² E‖∇L_m‖² in units of λ̂: ½ Σ nβh · ε/4 over its
    curvatures h, and what the choice of batch adds. LM-SGLD keeps the latter only.
    """
    heat = settings.lr / 8 * chains.n_beta**2
    step_bias = {
        "sgld": heat * mean_of_finite(chains.squared_gradient),
        "lm_sgld": heat * chains.gradient_noise,
        "rmsprop_sgld": math.nan,
    }[settings.method]
    away = mean_of_finite(chains.squared_distance)
    return Path(
        slope=chains.n_beta * chains.first_order,
        step_bias=step_bias,
        pull=settings.localization * away / chains.num_parameters,
    )


def mean_of_finite(values: np.ndarray) -> float:
    """Return the mean of what is finite; NaN if nothing is."""
    finite = values[np.isfinite(values)]
    with np.errstate(over="ignore"):
        return float(finite.mean()) if finite.size else math.nan
