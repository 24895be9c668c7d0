"""What was recorded along the chains of one estimate."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
Indices = npt.NDArray[np.integer]


class Chains(NamedTuple):
    """What the chains met.

    Shapes:
        loss, baseline: (chain, num_burnin_steps + draw); L(w_t) and L(w*) on the same batch.
        virial: likewise; ∇L(w_t)·(w_t − w*).
        batch: (chain, num_burnin_steps + draw); its index.
        full_loss: (chain, look); the mean over the first ``full_batches`` batches at evenly spaced
            steps after burn-in; with one batch in all, ``loss`` at every draw.
        squared_distance, first_order, squared_gradient, gradient_change, gradient_bend:
            (chain, look); see ``Look``.

    Attributes:
        full_baseline: L(w*) on the same batches as ``full_loss``.
        data_baseline: L(w*) on all batches.
        gradient_noise: E‖∇L_m(w*) − ∇L(w*)‖², what the choice of batch adds to a squared gradient
            at w*; along the chains it is often far more (``estimates.observables``).
        prior_loss_increase: E[L(w)] − L(w*) if the pull alone held the chains.
        n_beta: Inverse temperature nβ that was used.
        samples_per_batch: Those of the largest batch, for the last one is often smaller.
        num_batches, num_parameters: Sizes of the problem.
        engine: What ran.
        engine_note: Why it was not the engine asked for, and what became of the loss's random
            numbers; empty where there is nothing to say.
    """

    loss: Floats
    baseline: Floats
    virial: Floats
    batch: Indices
    full_loss: Floats
    full_baseline: float
    data_baseline: float
    squared_distance: Floats
    first_order: Floats
    squared_gradient: Floats
    gradient_diff_1: Floats
    gradient_diff_2: Floats
    gradient_noise: float
    prior_loss_increase: float
    n_beta: float
    samples_per_batch: int
    num_batches: int
    full_batches: int
    num_parameters: int
    engine: str
    engine_note: str
