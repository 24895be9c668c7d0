"""The reference engine: ``devinterp.optim.SGMCMC``, one chain at a time.

It exists for comparison with the field's own code, and is slow. Only ``build_groups`` imports this
file, when the reference engine is asked for: it imports devinterp.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from devinterp.optim import SGMCMC
from devinterp.optim.preconditioner import Preconditioner, PreconditionerCoefs
from devinterp.optim.prior import GaussianPrior

from devtrack.sampling._objective import Objective
from devtrack.sampling._vectorized_chains import ChainState, StepRecord
from devtrack.sampling.chain_record import Floats, Indices
from devtrack.sampling.config import SamplerConfig
from devtrack.sampling.kernels import kernel_class


class BiasCorrectedRmsprop(Preconditioner):
    """The published RMSProp-SGLD preconditioner, through devinterp's interface.

    devinterp's own one starts the second moments at 0 and does not correct the bias. Its first
    steps are therefore the largest. Here they start at 1 and are corrected (see ``RmspropSgld``).

    Attributes:
        scale: G of the last step, (parameter,).
    """

    def __init__(self, *, decay: float, eps: float) -> None:
        self.scale = torch.tensor(torch.nan)
        self._decay = decay
        self._eps = eps

    def get_coefficients(
        self, param: torch.Tensor, grad: torch.Tensor, state: dict[str, Any]
    ) -> PreconditionerCoefs:
        """Update the second moments in ``state`` and return the coefficients of the step."""
        moment = state.setdefault("second_moment", torch.ones_like(grad))
        state["num_steps"] = state.get("num_steps", 0) + 1
        moment.mul_(self._decay).addcmul_(grad, grad, value=1 - self._decay)
        corrected = moment / (1 - self._decay ** state["num_steps"])
        self.scale = scale = 1.0 / (corrected.sqrt() + self._eps)
        return PreconditionerCoefs(scale, scale, scale.sqrt(), 1.0)


class DevinterpChain:
    """One chain, moved by devinterp.

    The weights are one flat parameter. devinterp then draws one normal vector per step from the
    chain's generator, as the default engine does. With the same seed both take the same path.
    devinterp never draws from the global generator here, and never sees the model.

    Args:
        objective: The loss; the chain starts at its anchor w*.
        config: The sampler's hyperparameters.
        n_beta: Inverse temperature nβ.
        generator: The chain's own, on the device of the weights.
    """

    def __init__(
        self,
        objective: Objective,
        config: SamplerConfig,
        *,
        n_beta: float,
        generator: torch.Generator,
    ) -> None:
        self._objective = objective
        self._generator = generator
        self._weights = torch.nn.Parameter(objective.anchor.clone())
        self._gradient_statistics = [float("nan")] * 3
        self._preconditioner = None
        if kernel_class(config.method).is_preconditioned:
            self._preconditioner = BiasCorrectedRmsprop(
                decay=config.rmsprop_decay, eps=config.rmsprop_eps
            )
        self._optimizer = _build_optimizer(
            self._weights, config, n_beta=n_beta, preconditioner=self._preconditioner
        )

    def advance(self, batches: Indices) -> StepRecord:
        """Take one step per column (see ``ChainGroup``)."""
        losses, virials = np.empty(batches.shape), np.empty(batches.shape)
        gradient, order = torch.empty_like(self._weights.data), batches[0]
        last_gradients: list[torch.Tensor] = []  # up to three, this step's last
        for step, batch in enumerate(order):
            loss = self._objective.gradient(self._weights.data, int(batch), out=gradient)
            losses[0, step] = float(loss)
            virials[0, step] = float((self._weights.data - self._objective.anchor) @ gradient)
            scale = 1.0 if self._preconditioner is None else self._preconditioner.scale
            last_gradients = [*last_gradients[-2:], gradient.clone()]
            if step + 1 == len(order):
                last_batches = order[-3:].tolist()
                self._gradient_statistics = _statistics(last_gradients, last_batches, scale)
            self._weights.grad = gradient
            with _default_dtype(self._weights.dtype):
                self._optimizer.step(noise_generator=self._generator)
        return StepRecord(losses, virials)

    def full_losses(self, num_batches: int) -> Floats:
        """Return the mean loss over batches (see ``ChainGroup``)."""
        losses = [float(self._objective.loss(self._weights.data, b)) for b in range(num_batches)]
        return np.mean(losses, keepdims=True)

    def observe(self, gradient_at_anchor: torch.Tensor) -> ChainState:
        """Return the state of the chain (see ``ChainGroup``)."""
        displacement = self._weights.data - self._objective.anchor
        squared_distance = float(displacement.square().sum())
        first_order = float(displacement @ gradient_at_anchor)
        state = (squared_distance, first_order, *self._gradient_statistics)
        return ChainState(*(np.array([value]) for value in state))


def _statistics(
    gradients: list[torch.Tensor], batches: list[int], scale: torch.Tensor | float
) -> list[float]:
    """Return the gradient statistics of ``ChainState`` for up to three successive gradients."""
    last = gradients[-1]
    squared, diff_1, diff_2 = float((scale * last.square()).sum()), float("nan"), float("nan")
    if len(gradients) > 1 and batches[-1] != batches[-2]:
        diff_1 = float((0.5 * scale * (last - gradients[-2]).square()).sum())
    if len(gradients) == len(set(batches)) == 3:
        first, second, _ = gradients
        diff_2 = float((scale * (second - first) * (second - last)).sum())
    return [squared, diff_1, diff_2]


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Make devinterp draw its noise in the weights' precision: it uses the default one."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _build_optimizer(
    weights: torch.nn.Parameter,
    config: SamplerConfig,
    *,
    n_beta: float,
    preconditioner: BiasCorrectedRmsprop | None,
) -> SGMCMC:
    gamma = config.localization
    if preconditioner is None:
        with warnings.catch_warnings():
            # devinterp always warns about nβ = 1; here the caller chose it.
            warnings.filterwarnings("ignore", message="nbeta set to 1")
            return SGMCMC.sgld([weights], lr=config.lr, localization=gamma, nbeta=n_beta)
    return SGMCMC(
        [weights],
        lr=config.lr,
        nbeta=n_beta,
        prior=GaussianPrior(localization=gamma, center="initial") if gamma else None,
        preconditioner=preconditioner,
    )
