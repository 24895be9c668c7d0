"""What is recorded along the chains of one estimate."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
Indices = npt.NDArray[np.integer]


class Chains(NamedTuple):
    """Losses and observables along the chains of one estimate.

    An evaluation is a point between two steps at which the chain's position is recorded.

    Shapes:
        loss, baseline: (chain, num_burnin_steps + draw); L(w_t) and L(w*) on the same batch.
        virial: likewise; ∇L(w_t)·(w_t − w*).
        batch: (chain, num_burnin_steps + draw); index of the batch.
        full_loss: (chain, evaluation); the mean over the first ``full_batches`` batches, at evenly
        spaced steps after burn-in. With one batch in all it is ``loss`` at every draw.
        squared_distance, first_order, squared_gradient: (chain, evaluation); see ``ChainState``.
        gradient_diff_1, gradient_diff_2: likewise.

    Attributes:
        full_baseline: L(w*) on the same batches as ``full_loss``.
        data_baseline: L(w*) on all batches.
        gradient_noise: E‖∇L_m(w*) − ∇L(w*)‖², the gradient noise of one batch at w*. Along the
            chains it is often much larger.
        prior_loss_increase: E[L(w)] − L(w*) under the Gaussian prior alone.
        n_beta: Inverse temperature nβ that was used.
        samples_per_batch: Samples of the largest batch; the last one is often smaller.
        num_batches, num_parameters: Sizes of the problem.
        engine: Engine that ran.
        engine_note: Why another engine than the one asked for ran, and how random numbers of the
            loss were treated; else empty.
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
