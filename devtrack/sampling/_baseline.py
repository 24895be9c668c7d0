"""L(w*) on every batch, and whether the loss is one fixed function of the weights.

The loss along the chains is compared with L(w*) on the same batch, so both must be one function.
Some losses draw random numbers (diffusion, dropout, augmentation). All draws of all chains would
then share one random L(w*), and no standard error would contain its error. The random numbers
therefore become part of the data. Each batch has one set, for L(w) and L(w*), for all chains and
all snapshots of a run. As with the choice of data, more batches lower the error.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from devtrack.errors import MetricError
from devtrack.sampling._objective import Objective

Floats = npt.NDArray[np.floating]

FIXED_NOTE = (
    "the loss draws random numbers; they are fixed per batch, as part of the data, and more "
    "batches lower their error"
)
NOT_FIXED_NOTE = "the loss draws random numbers or keeps a state"

TOLERANCE = {"full": 1e-3, "bf16": 3e-2}
"""Relative difference between two computations of one loss that counts as rounding. bf16 has 8
binary digits, and a loss near 0 has fewer. Chosen by hand; not fitted."""


class Baseline(NamedTuple):
    """L(w*) of every batch.

    Attributes:
        losses: (batch,).
        is_fixed: Whether a second call gives the same.
        note: How random numbers of the loss are treated; empty for a loss without.
    """

    losses: Floats
    is_fixed: bool
    note: str


def take_baseline(objective: Objective) -> Baseline:
    """Return L(w*), after fixing the random numbers of ``objective`` if it draws any."""
    losses = _losses_at_anchor(objective)
    if _is_repeated(objective, losses):
        return Baseline(losses, True, "")
    objective.fix_noise()
    losses = _losses_at_anchor(objective)
    fixed = _is_repeated(objective, losses)
    return Baseline(losses, fixed, FIXED_NOTE if fixed else NOT_FIXED_NOTE)


def require_same_with_gradient(objective: Objective, loss: float, baseline: Baseline) -> None:
    """Refuse a loss that is another function where weights require gradients.

    Args:
        objective: The loss.
        loss: L(w*) on the first batch, as the chains compute it.
        baseline: L(w*) without gradients.

    Raises:
        MetricError: If they differ by more than rounding.
    """
    alone, tolerance = float(baseline.losses[0]), TOLERANCE[objective.precision]
    close = np.isclose(loss, alone, rtol=tolerance, atol=tolerance / 100, equal_nan=True)
    if baseline.is_fixed and not close:
        raise MetricError(
            f"L(w*) is {loss:.6g} where weights ask for gradients and {alone:.6g} where they do "
            "not: both must be one function, or λ̂ measures their difference. Let the loss do the "
            "same for parameters with and without requires_grad, or pass loss= to the metric."
        )


def _is_repeated(objective: Objective, losses: Floats) -> bool:
    again = float(objective.loss(objective.anchor, 0))
    return bool(np.allclose(again, losses[0], equal_nan=True))


def _losses_at_anchor(objective: Objective) -> Floats:
    batches = range(objective.num_batches)
    losses = torch.stack([objective.loss(objective.anchor, batch) for batch in batches])
    return losses.double().cpu().numpy()
