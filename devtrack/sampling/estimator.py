"""From chains to an estimate: the LLC in its own units, and what the chains' looks say of it."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from devtrack.sampling._control_variates import Floats, Signal, quiet_signal
from devtrack.sampling._discretization_bias import heat_of
from devtrack.sampling.chain_record import Chains
from devtrack.sampling.config import SamplerSettings
from devtrack.sampling.diagnostics import Diagnosis, Path, diagnose
from devtrack.sampling.diagnostics._failures import failed_chains
from devtrack.sampling.diagnostics._statistics import mean_of_finite
from devtrack.sampling.diagnostics._thresholds import STEP_BIAS_SHARE


def estimate(
    chains: Chains, settings: SamplerSettings, *, checks: Literal["on", "off"] = "on"
) -> Diagnosis:
    """Return λ̂ = nβ (E[L(w)] − L(w*)) with its status, from ``signal_of`` the chains.

    Its ``se`` holds the error of what the signal leaves out for the step size.

    Args:
        chains: From ``sample`` with the same settings.
        settings: The sampler's settings.
        checks: See ``diagnose``.

    Raises:
        ConfigError: If there is one chain only and ``checks`` is on.
    """
    signal = signal_of(chains, settings)
    found = diagnose(
        signal.values,
        _full_signal(chains),
        num_parameters=chains.num_parameters,
        path=path_of(chains, settings),
        checks=checks,
    )
    return found._replace(se=math.hypot(found.se, signal.removed_se))


def signal_of(chains: Chains, settings: SamplerSettings) -> Signal:
    """Return what λ̂ is the mean of: the ``quiet_signal``, or the looks at all batches.

    Both without what the step size has added to them (``Heat``), as far as it can be foretold: up
    to ``STEP_BIAS_SHARE`` of λ̂, beyond which the estimate is doubted. Small networks, and the
    tasks of ``experiments.bench.llc``, at step sizes that add 1 to 8 % to λ̂ by SGLD and by LM-SGLD:
    what is left lies between -3 and 3 % (two to eight estimates each, known to 1 to 2 %). Near the
    limit it may be more: of 8 % foretold on a deep linear network [5, 3, 5], by LM-SGLD at ten
    times its gate's step, 3 % were found, so that -5 % are left.

    Args:
        chains: From ``sample`` with the same settings.
        settings: The sampler's settings.
    """
    at_looks = settings.evaluate_on == "full_data"
    if at_looks:
        signal = Signal(_full_signal(chains), "all")
    else:
        signal = quiet_signal(chains, num_burnin_steps=settings.num_burnin_steps)
    means = signal.values.mean(axis=1)
    _, holds = failed_chains(means, chains.num_parameters)
    if not holds.any():
        return signal
    heat = heat_of(chains, settings)
    told = heat.steps if at_looks else heat.steps + heat.batches  # (chain, look)
    told = told[np.isfinite(told)]
    if not (told.size and told.mean() > 0):
        return signal
    most = STEP_BIAS_SHARE / (1 + STEP_BIAS_SHARE) * float(means[holds].mean())
    removed = min(float(told.mean()), max(most, 0.0))
    error = removed / told.mean() * told.std() / math.sqrt(told.size)
    return Signal(signal.values - removed, signal.control, removed, float(error))


def _full_signal(chains: Chains) -> Floats:
    with np.errstate(over="ignore", invalid="ignore"):  # chains on their way to infinity
        return chains.n_beta * (chains.full_loss - chains.full_baseline)


def path_of(chains: Chains, settings: SamplerSettings) -> Path:
    """Return what the chains' looks say beyond the loss.

    Integration by parts gives E[(w − w*)·(nβ ∇L + γ(w − w*))] = 1 per parameter at equilibrium,
    whatever the loss. A direction in which chains still diffuse counts for less, so that the mean
    is the share of directions that have come to rest.
    """
    pull = settings.localization * mean_of_finite(chains.squared_distance)
    drawn = slice(settings.num_burnin_steps, None)
    with np.errstate(over="ignore", invalid="ignore"):
        virial = chains.n_beta * chains.virial[:, drawn]
        signal = chains.n_beta * (chains.loss - chains.baseline)[:, drawn]
        anharmonic = 0.5 * virial - signal
        if settings.evaluate_on == "full_data":  # one for each, like the signal
            looks = np.array_split(anharmonic, chains.full_loss.shape[1], axis=1)
            anharmonic = np.stack([draws.mean(axis=1) for draws in looks], axis=1)
    return Path(
        slope=chains.n_beta * chains.first_order,
        step_bias=heat_of(chains, settings).total,
        localization_virial=pull / chains.num_parameters,
        equilibrated_fraction=(mean_of_finite(virial) + pull) / chains.num_parameters,
        anharmonic=anharmonic,
    )
