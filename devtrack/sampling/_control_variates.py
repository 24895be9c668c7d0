"""Control variates that remove minibatch noise from the draws."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from devtrack.sampling.chain_record import Chains

Floats = npt.NDArray[np.floating]
Bools = npt.NDArray[np.bool_]
ControlVariate = Literal["none", "baseline", "batch", "all"]

EXPLAINED_MIN = 0.1
"""Share of the variance that a control variate must explain to be used. Chosen by hand; not
fitted."""

DRAWS_MIN = 20
"""Draws, over all chains, from which a coefficient is fitted; the fit costs one of them. Chosen by
hand; not fitted."""


class LLCDraws(NamedTuple):
    """Draws whose mean is λ̂: nβ (L(w_t) − L(w*)) without burn-in.

    Shapes:
        values: (chain, draw), each on its own batch; or (chain, evaluation) on all batches.

    Attributes:
        control_variate: Variance reduction, see ``apply_control_variates``; ``all``: none was
            needed, because each value uses all batches.
        step_bias_removed: Predicted discretization bias that was subtracted from every value.
        removed_se: Standard error of ``step_bias_removed``.
    """

    values: Floats
    control_variate: ControlVariate
    step_bias_removed: float = 0.0
    removed_se: float = 0.0


def paired_draws(chains: Chains, *, num_burnin_steps: int) -> Floats:
    """Return nβ (L(w_t) − L(w*)), both on the draw's own batch, without burn-in.

    Shapes:
        Returns: (chain, draw).
    """
    drawn = slice(num_burnin_steps, None)
    with np.errstate(over="ignore", invalid="ignore"):  # chains on their way to infinity
        return chains.n_beta * (chains.loss - chains.baseline)[:, drawn]


def apply_control_variates(
    chains: Chains, paired: Floats, is_valid: Bools, *, num_burnin_steps: int
) -> LLCDraws:
    """Return the paired draws, with a control variate where one explains enough variance.

    Where w_t is far from w*, L_k(w_t) and L_k(w*) are hardly correlated. The pair then carries the
    noise of both over batches k. Batches are drawn independently of w_t, so the mean of what is
    subtracted is known:

    - ``batch``: the mean a_k of each batch, once all batches have been drawn twice. A draw s_t
      becomes s_t − a_k + mean(a), so every batch has the same weight. Deviations are scaled by
      √((N − 1) / (N − K)) with N draws on K batches, because the K means absorb some variance.
    - ``baseline``: with fewer draws, c nβ (L_k(w*) − L(w*)) with L(w*) over all batches. The
      coefficient c is fitted by least squares over all chains.
    - ``none``: the pairs unchanged, if neither explains ``EXPLAINED_MIN`` of their variance.

    Failed chains take no part in the fit. Their own draws are corrected by the fit of the others.

    Args:
        chains: From ``sample``.
        paired: From ``paired_draws``.
        is_valid: Whether a chain counts.
        num_burnin_steps: Steps to leave out.

    Shapes:
        paired: (chain, draw). is_valid: (chain,).
    """
    if paired[is_valid].size < DRAWS_MIN:
        return LLCDraws(paired, "none")
    drawn = slice(num_burnin_steps, None)
    batch = chains.batch[:, drawn]
    with np.errstate(over="ignore", invalid="ignore"):
        reduced = _subtract_batch_means(paired, batch, is_valid, num_batches=chains.num_batches)
    if reduced is not None:
        return LLCDraws(reduced, "batch")
    offset = chains.n_beta * (chains.baseline[:, drawn] - chains.data_baseline)
    coefficient = _coefficient(paired[is_valid], offset[is_valid])
    return LLCDraws(paired - coefficient * offset, "baseline" if coefficient else "none")


def _subtract_batch_means(
    paired: Floats, batch: npt.NDArray[np.integer], is_valid: Bools, *, num_batches: int
) -> Floats | None:
    """Return the draws without the means of their batches; None if that explains too little."""
    values, batch_of = paired[is_valid].ravel(), batch[is_valid].ravel()
    counts = np.bincount(batch_of, minlength=num_batches)
    if counts.min() < 2:
        return None
    means = np.bincount(batch_of, values, minlength=num_batches) / counts  # (batch,)
    residual = float(((values - means[batch_of]) ** 2).sum()) / (values.size - num_batches)
    if not residual < (1 - EXPLAINED_MIN) * float(values.var(ddof=1)):
        return None
    scale = math.sqrt((values.size - 1) / (values.size - num_batches))
    return means.mean() + scale * (paired - means[batch])


def _coefficient(paired: Floats, offset: Floats) -> float:
    """Return the slope of ``paired`` over ``offset``; 0 if it explains too little."""
    paired, offset = paired - paired.mean(), offset - offset.mean()
    spread, shared = float((offset**2).sum()), float((paired * offset).sum())
    if not shared * shared > EXPLAINED_MIN * spread * float((paired**2).sum()):
        return 0.0
    return shared / spread
