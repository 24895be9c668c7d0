"""What is known of the chains beside the loss, as the quality checks read it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

_UNKNOWN: npt.NDArray[np.floating] = np.full((1, 1), np.nan)
_UNKNOWN.setflags(write=False)  # one array for all that leave it out


class ChainObservables(NamedTuple):
    """Observables of the chains beside the loss. NaN, also where one is left out: unknown.

    Shapes:
        first_order: (chain, evaluation). anharmonic: (chain, draw).

    Attributes:
        first_order: nβ ∇L(w*)·(w − w*); its mean is 0 at a minimum.
        step_bias: Predicted bias of λ̂ from the finite step size and from minibatch noise. Part of
            it may already be subtracted from the draws.
        localization_virial: γ E‖w − w*‖² / parameters.
        equilibrated_fraction: Share of the sampled directions that reached equilibrium.
        anharmonic: nβ (½ ∇L(w)·(w − w*) − L(w) + L(w*)); 0 where the loss is a quadratic.
    """

    first_order: npt.NDArray[np.floating] = _UNKNOWN
    step_bias: float = np.nan
    localization_virial: float = np.nan
    equilibrated_fraction: float = np.nan
    anharmonic: npt.NDArray[np.floating] = _UNKNOWN

    def of_chains(self, is_valid: npt.NDArray[np.bool_]) -> ChainObservables:
        """Return them with the arrays of some chains only.

        Shapes:
            is_valid: (chain,).
        """
        return ChainObservables(*(_of_chains(value, is_valid) for value in self))


def _of_chains(value: Any, is_valid: npt.NDArray[np.bool_]) -> Any:
    return value[is_valid] if isinstance(value, np.ndarray) and value is not _UNKNOWN else value
