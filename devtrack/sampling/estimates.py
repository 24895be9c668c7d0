"""From chains to an estimate: the LLC in its own units, and what the chains' looks say of it."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from devtrack.diagnostics import Diagnosis, Path, diagnose
from devtrack.sampling.chains import Chains
from devtrack.sampling.settings import SamplerSettings

Floats = npt.NDArray[np.floating]

EXPLAINED_MIN = 0.1
"""Share of the signal's variance from which the choice of batches is corrected for: below it, the
correction is worth less than the simple mean."""

DRAWS_MIN = 20
"""Draws, over all chains, from which a coefficient is fitted: it costs one of them."""


class Signal(NamedTuple):
    """nβ (L(w_t) − L(w*)) draw by draw, burn-in left out, quiet where batches differ in L(w*).

    Shapes:
        values: (chain, draw).

    Attributes:
        control: The coefficient c of ``values``; 0 where the plain pairs are as good.
    """

    values: Floats
    control: float


def quiet_signal(chains: Chains, *, num_burnin_steps: int) -> Signal:
    """Return every draw paired with its own baseline, less what its batch's baseline foretells.

    Where w_t is far from w*, L_k(w_t) hardly knows of L_k(w*), and the pair carries all the noise
    of L_k(w*) over batches k. So L(w*) is a control variate, with its mean over all batches known:
    s_t = nβ (L_k(w_t) − L_k(w*)) − c · nβ (L_k(w*) − L(w*)), c by least squares over all chains.
    The second term has mean 0 at every c, since batches are drawn without regard to w_t.

    Args:
        chains: From ``sample``.
        num_burnin_steps: Steps to leave out.
    """
    drawn = slice(num_burnin_steps, None)
    with np.errstate(over="ignore", invalid="ignore"):  # chains on their way to infinity
        paired = chains.n_beta * (chains.loss - chains.baseline)[:, drawn]
        offset = chains.n_beta * (chains.baseline[:, drawn] - chains.data_baseline)
        finite = np.isfinite(paired).all(axis=1)  # (chain,)
        control = _coefficient(paired[finite], offset[finite])
        return Signal(paired - control * offset, control)


def _coefficient(signal: Floats, offset: Floats) -> float:
    """Return the slope of ``signal`` over ``offset``; 0 if it explains too little."""
    if signal.size < DRAWS_MIN or not np.isfinite(signal).all():
        return 0.0
    signal, offset = signal - signal.mean(), offset - offset.mean()
    spread, shared = float((offset**2).sum()), float((signal * offset).sum())
    worth_it = EXPLAINED_MIN * spread * float((signal**2).sum())
    if not (spread > 0 and math.isfinite(worth_it) and shared * shared > worth_it):
        return 0.0
    return shared / spread


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
