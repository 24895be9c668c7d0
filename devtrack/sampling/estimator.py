"""From chains to an estimate: the LLC in its own units, and what the chains' looks say of it."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from devtrack.sampling._control_variates import Floats, LLCDraws, apply_control_variates
from devtrack.sampling._discretization_bias import discretization_bias
from devtrack.sampling.chain_record import Chains
from devtrack.sampling.config import SamplerConfig
from devtrack.sampling.diagnostics import ChainObservables, Diagnosis, diagnose
from devtrack.sampling.diagnostics._failures import failed_chains
from devtrack.sampling.diagnostics._statistics import mean_of_finite
from devtrack.sampling.diagnostics._thresholds import STEP_BIAS_SHARE


def estimate(
    chains: Chains, config: SamplerConfig, *, checks: Literal["on", "off"] = "on"
) -> Diagnosis:
    """Return λ̂ = nβ (E[L(w)] − L(w*)) with its status, from ``llc_draws`` the chains.

    Its ``se`` holds the error of what the signal leaves out for the step size.

    Args:
        chains: From ``sample`` with the same settings.
        config: The sampler's settings.
        checks: See ``diagnose``.

    Raises:
        ConfigError: If there is one chain only and ``checks`` is on.
    """
    signal = llc_draws(chains, config)
    found = diagnose(
        signal.values,
        _full_signal(chains),
        num_parameters=chains.num_parameters,
        observables=observables(chains, config),
        checks=checks,
    )
    return found._replace(se=math.hypot(found.se, signal.removed_se))


def llc_draws(chains: Chains, config: SamplerConfig) -> LLCDraws:
    """Return what λ̂ is the mean of: the ``apply_control_variates``, or the looks at all batches.

    Both without what the step size has added to them (``DiscretizationBias``), as far as it can be
    foretold: up to ``STEP_BIAS_SHARE`` of λ̂, beyond which the estimate is doubted. Small networks,
        and the
    tasks of ``experiments.bench.llc``, at step sizes that add 1 to 8 % to λ̂ by SGLD and by
    LM-SGLD: what is left lies between -3 and 3 % (two to eight estimates each, known to 1 to 2 %).
    Near the
    limit it may be more: of 8 % foretold on a deep linear network [5, 3, 5], by LM-SGLD at ten
    times its gate's step, 3 % were found, so that -5 % are left.

    Args:
        chains: From ``sample`` with the same settings.
        config: The sampler's settings.
    """
    at_looks = config.evaluate_on == "full_data"
    if at_looks:
        signal = LLCDraws(_full_signal(chains), "all")
    else:
        signal = apply_control_variates(chains, num_burnin_steps=config.num_burnin_steps)
    means = signal.values.mean(axis=1)
    _, holds = failed_chains(means, chains.num_parameters)
    if not holds.any():
        return signal
    bias = discretization_bias(chains, config)
    told = (
        bias.from_step_size if at_looks else bias.from_step_size + bias.from_minibatches
    )  # (chain, look)
    told = told[np.isfinite(told)]
    if not (told.size and told.mean() > 0):
        return signal
    most = STEP_BIAS_SHARE / (1 + STEP_BIAS_SHARE) * float(means[holds].mean())
    removed = min(float(told.mean()), max(most, 0.0))
    error = removed / told.mean() * told.std() / math.sqrt(told.size)
    return LLCDraws(signal.values - removed, signal.control_variate, removed, float(error))


def _full_signal(chains: Chains) -> Floats:
    with np.errstate(over="ignore", invalid="ignore"):  # chains on their way to infinity
        return chains.n_beta * (chains.full_loss - chains.full_baseline)


def observables(chains: Chains, config: SamplerConfig) -> ChainObservables:
    """Return what the chains' looks say beyond the loss.

    Integration by parts gives E[(w − w*)·(nβ ∇L + γ(w − w*))] = 1 per parameter at equilibrium,
    whatever the loss. A direction in which chains still diffuse counts for less, so that the mean
    is the share of directions that have come to rest.
    """
    localization = config.localization * mean_of_finite(chains.squared_distance)
    drawn = slice(config.num_burnin_steps, None)
    with np.errstate(over="ignore", invalid="ignore"):
        virial = chains.n_beta * chains.virial[:, drawn]
        signal = chains.n_beta * (chains.loss - chains.baseline)[:, drawn]
        anharmonic = 0.5 * virial - signal
        if config.evaluate_on == "full_data":  # one for each, like the signal
            looks = np.array_split(anharmonic, chains.full_loss.shape[1], axis=1)
            anharmonic = np.stack([draws.mean(axis=1) for draws in looks], axis=1)
    return ChainObservables(
        first_order=chains.n_beta * chains.first_order,
        step_bias=discretization_bias(chains, config).total,
        localization_virial=localization / chains.num_parameters,
        equilibrated_fraction=(mean_of_finite(virial) + localization) / chains.num_parameters,
        anharmonic=anharmonic,
    )
