"""Take out of the draws what the choice of their batches alone has put in."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from devtrack.sampling.chain_record import Chains
from devtrack.sampling.diagnostics._failures import failed_chains

Floats = npt.NDArray[np.floating]
ControlVariate = Literal["none", "baseline", "batch", "all"]

EXPLAINED_MIN = 0.1
"""Share of the variance that a correction must explain: below it, the plain mean is as good."""

DRAWS_MIN = 20
"""Draws, over all chains, from which a coefficient is fitted: it costs one of them."""


class LLCDraws(NamedTuple):
    """nβ (L(w_t) − L(w*)) draw by draw, burn-in left out, each on its own batch or on all.

    Shapes:
        values: (chain, draw), or (chain, look) on all batches.

    Attributes:
        control_variate: What was taken out, see ``apply_control_variates``; ``all``: measured on
            all batches.
        step_bias_removed: What the step size had added and was taken out of every value.
        removed_se: Standard error of that.
    """

    values: Floats
    control_variate: ControlVariate
    step_bias_removed: float = 0.0
    removed_se: float = 0.0


def apply_control_variates(chains: Chains, *, num_burnin_steps: int) -> LLCDraws:
    """Return every draw paired with its own baseline, and corrected for its batch where it pays.

    Where w_t is far from w*, L_k(w_t) hardly knows of L_k(w*), and the pair s_t carries the noise
    of both over batches k. The batches are fixed and drawn without regard to w_t, so that what is
    taken out has a known mean:

    - ``batch``: each batch's own mean a_k, once all have been drawn twice: s_t − a_k + mean(a), so
      that every batch counts alike. Deviations are stretched by √((N − 1) / (N − K)), N draws on K
      batches, for what the K means have taken of them.
    - ``baseline``: with fewer draws, the control variate c nβ (L_k(w*) − L(w*)), L(w*) over all
      batches, c by least squares over all chains.
    - ``none``: the pairs as they are, if neither explains ``EXPLAINED_MIN`` of their variance.

    Chains that fail take no part, and their own values only lose what the others foretell.

    Args:
        chains: From ``sample``.
        num_burnin_steps: Steps to leave out.
    """
    drawn = slice(num_burnin_steps, None)
    with np.errstate(over="ignore", invalid="ignore"):  # chains on their way to infinity
        paired = chains.n_beta * (chains.loss - chains.baseline)[:, drawn]
        offset = chains.n_beta * (chains.baseline[:, drawn] - chains.data_baseline)
        _, holds = failed_chains(paired.mean(axis=1), chains.num_parameters)
    if paired[holds].size < DRAWS_MIN:
        return LLCDraws(paired, "none")
    batch = chains.batch[:, drawn]
    reduced = _subtract_batch_means(paired, batch, holds, num_batches=chains.num_batches)
    if reduced is not None:
        return LLCDraws(reduced, "batch")
    coefficient = _coefficient(paired[holds], offset[holds])
    return LLCDraws(paired - coefficient * offset, "baseline" if coefficient else "none")


def _subtract_batch_means(
    paired: Floats,
    batch: npt.NDArray[np.integer],
    holds: npt.NDArray[np.bool_],
    *,
    num_batches: int,
) -> Floats | None:
    """Return the draws without their batches' means; None if that explains too little."""
    values, batches = paired[holds].ravel(), batch[holds].ravel()
    counts = np.bincount(batches, minlength=num_batches)
    if counts.min() < 2:
        return None
    means = np.bincount(batches, values, minlength=num_batches) / counts  # (batch,)
    left = float(((values - means[batches]) ** 2).sum()) / (values.size - num_batches)
    if not left < (1 - EXPLAINED_MIN) * float(values.var(ddof=1)):
        return None
    stretch = math.sqrt((values.size - 1) / (values.size - num_batches))
    return means.mean() + stretch * (paired - means[batch])


def _coefficient(paired: Floats, offset: Floats) -> float:
    """Return the slope of ``paired`` over ``offset``; 0 if it explains too little."""
    paired, offset = paired - paired.mean(), offset - offset.mean()
    spread, shared = float((offset**2).sum()), float((paired * offset).sum())
    if not shared * shared > EXPLAINED_MIN * spread * float((paired**2).sum()):
        return 0.0
    return shared / spread
