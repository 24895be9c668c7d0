"""Groups of chains: all positions of a group in one array, moved by one kernel."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, Protocol

import torch

from devtrack.sampling._objective import Objective
from devtrack.sampling.chain_record import Floats, Indices
from devtrack.sampling.kernels import Kernel


class StepRecord(NamedTuple):
    """What is recorded at every step, at the position before the step.

    Shapes:
        All (chain, step).

    Attributes:
        loss: L_m(w) on the step's batch.
        virial: ∇L_m(w)·(w − w*) on the same batch: 2 (L − L(w*)) where L is a quadratic.
    """

    loss: Floats
    virial: Floats


class ChainState(NamedTuple):
    """What is recorded of every chain of a group at an evaluation, between two steps.

    Squared gradients are in the metric of the steps (``Kernel.metric_product``).

    Shapes:
        All (chain,).

    Attributes:
        squared_distance: ‖w − w*‖².
        first_order: ∇L(w*)·(w − w*), the change of the loss if it were linear.
        squared_gradient: ‖∇L_m‖² of the last step's batch, at the position before that step.
        gradient_diff_1: ½‖g₁ − g₂‖² of the last two gradients. NaN where both are on one batch, or
            where only one step was taken since the last evaluation.
        gradient_diff_2: (g₁ − g₀)·(g₁ − g₂) of the last three gradients. NaN where two are on one
            batch, or where fewer than three steps were taken.
    """

    squared_distance: Floats
    first_order: Floats
    squared_gradient: Floats
    gradient_diff_1: Floats
    gradient_diff_2: Floats


class ChainGroup(Protocol):
    """A group of chains that share a call. Positions persist from one call to the next."""

    def advance(self, batches: Indices) -> StepRecord:
        """Take one step per column and return the record of the steps.

        Shapes:
            batches: (chain, step), the batch of each chain at each step.
        """
        ...

    def full_losses(self, num_batches: int) -> Floats:
        """Return the mean loss over the first ``num_batches`` batches at the present positions.

        Shapes:
            Returns: (chain,).
        """
        ...

    def observe(self, gradient_at_anchor: torch.Tensor) -> ChainState:
        """Return the state of the chains; ``advance`` must have been called before.

        Shapes:
            gradient_at_anchor: (parameter,).
        """
        ...


class VectorizedChains:
    """All chains of the group in one forward and backward pass.

    Each chain draws its noise from a generator of its own. Its path then does not depend on the
    other chains of its group.

    Args:
        objective: The loss; the chains start at its anchor w*.
        kernel: Fresh, not shared with other groups.
        generators: One per chain, on the device of the weights.
    """

    def __init__(
        self, objective: Objective, kernel: Kernel, *, generators: Sequence[torch.Generator]
    ) -> None:
        self._objective = objective
        self._kernel = kernel
        self._generators = list(generators)
        self._anchor = objective.anchor
        self._weights = objective.anchor.repeat(len(self._generators), 1)  # (chain, parameter)
        self._gradient = torch.empty_like(self._weights)
        self._noise = torch.empty_like(self._weights)
        self._displacement = torch.empty_like(self._weights)  # w − w*
        self._gradient_statistics = [torch.full_like(self._weights[:, 0], torch.nan)] * 3

    def advance(self, batches: Indices) -> StepRecord:
        """Take one step per column (see ``ChainGroup``)."""
        order = torch.as_tensor(batches, device=self._anchor.device)
        last = order.shape[1] - 1
        losses, virials, previous = [], [], []
        with quiet_vmap():
            for step in range(order.shape[1]):
                losses.append(self._evaluate(order[:, step]))
                torch.sub(self._weights, self._anchor, out=self._displacement)
                product = torch.mul(self._displacement, self._gradient, out=self._noise)
                virials.append(product.sum(1))
                if step == last:
                    self._record_gradients(previous, order)
                elif last - step <= 2:
                    previous.append(self._gradient.clone())
                for row, generator in zip(self._noise, self._generators, strict=True):
                    row.normal_(generator=generator)  # as devinterp draws it
                self._kernel.apply(self._weights, self._displacement, self._gradient, self._noise)
        return StepRecord(
            *(torch.stack(values, dim=1).double().cpu().numpy() for values in (losses, virials))
        )

    def full_losses(self, num_batches: int) -> Floats:
        """Return the mean loss over batches (see ``ChainGroup``)."""
        with quiet_vmap():
            losses = [self._losses(batch) for batch in range(num_batches)]
        return torch.stack(losses).double().mean(0).cpu().numpy()

    def observe(self, gradient_at_anchor: torch.Tensor) -> ChainState:
        """Return the state of the chains (see ``ChainGroup``)."""
        displacement = torch.sub(self._weights, self._anchor, out=self._displacement)
        first_order = displacement @ gradient_at_anchor
        state = (displacement.square_().sum(1), first_order, *self._gradient_statistics)
        return ChainState(*(values.double().cpu().numpy() for values in state))

    def _record_gradients(self, previous: Sequence[torch.Tensor], order: torch.Tensor) -> None:
        """Keep the statistics of the last gradient and of up to two before it."""
        product, last = self._kernel.metric_product, self._gradient
        squared = product(last, last)
        diff_1 = diff_2 = torch.full_like(squared, torch.nan)
        if previous:
            ahead = last - previous[-1]
            differ = order[:, -1] != order[:, -2]
            diff_1 = torch.where(differ, 0.5 * product(ahead, ahead), diff_1)
            if len(previous) == 2:
                behind = previous[0] - previous[1]
                differ &= (order[:, -3] != order[:, -2]) & (order[:, -3] != order[:, -1])
                diff_2 = torch.where(differ, product(ahead, behind), diff_2)
        self._gradient_statistics = [squared, diff_1, diff_2]

    def _evaluate(self, batch: torch.Tensor) -> torch.Tensor:
        return self._objective.gradients(self._weights, batch, out=self._gradient)

    def _losses(self, batch: int) -> torch.Tensor:
        return self._objective.losses(self._weights, batch)


class SequentialChain(VectorizedChains):
    """One chain without vmap, for models that vmap refuses: same kernel, same noise, same path."""

    def _evaluate(self, batch: torch.Tensor) -> torch.Tensor:
        loss = self._objective.gradient(self._weights[0], int(batch), out=self._gradient[0])
        return loss.reshape(1)

    def _losses(self, batch: int) -> torch.Tensor:
        return self._objective.loss(self._weights[0], batch).reshape(1)


@contextmanager
def quiet_vmap() -> Iterator[None]:
    """Silence vmap's hints about operators without a batching rule: they run, only slower."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="There is a performance drop")
        yield
