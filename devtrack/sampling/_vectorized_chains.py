"""Chains that walk: a group of them in one array, moved by one update."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch

from devtrack.sampling._noise import build_noise
from devtrack.sampling._objective import Objective
from devtrack.sampling.kernels import Kernel

Indices = npt.NDArray[np.integer]
Losses = npt.NDArray[np.floating]


class StepRecord(NamedTuple):
    """What chains meet on their way.

    Shapes:
        All (chain, step), taken where a chain stands before it moves.

    Attributes:
        loss: L_m(w) on the step's batch.
        virial: ∇L_m(w)·(w − w*) on the same batch: 2 (L − L(w*)) where L is a quadratic.
    """

    loss: Losses
    virial: Losses


class ChainState(NamedTuple):
    """What is seen of every chain of a group between two steps.

    Shapes:
        All (chain,).

    Attributes:
        squared_distance: ‖w − w*‖².
        first_order: ∇L(w*)·(w − w*), by how much the loss would have changed if it were linear.
        squared_gradient: ‖∇L_m‖² of the last step's batch, where the chain stood before it, in the
            metric of the steps (``Kernel.metric_product``).
        gradient_diff_1: ½‖g₁ − g₂‖² of the last two steps' gradients, likewise. NaN where they
            were on one batch, or there was but one step since the last look.
        gradient_diff_2: (g₁ − g₀)·(g₁ − g₂) of the last three. NaN where two were on one batch, or
            there were but two steps.
    """

    squared_distance: Losses
    first_order: Losses
    squared_gradient: Losses
    gradient_diff_1: Losses
    gradient_diff_2: Losses


class ChainGroup(Protocol):
    """A group of chains that share a call. Positions live on from one call to the next."""

    def advance(self, batches: Indices) -> StepRecord:
        """Take one step per column and return what was met on the way.

        Shapes:
            batches: (chain, step), the batch that each chain looks at.
        """
        ...

    def full_losses(self, num_batches: int) -> Losses:
        """Return the mean loss over the first ``num_batches`` batches, where the chains stand.

        Shapes:
            Returns: (chain,).
        """
        ...

    def observe(self, gradient_at_anchor: torch.Tensor) -> ChainState:
        """Return where the chains stand; ``advance`` must have been called before.

        Shapes:
            gradient_at_anchor: (parameter,).
        """
        ...


class VectorizedChains:
    """All chains of the group in one forward and backward pass.

    Each chain draws its noise from a generator of its own, so that its path does not depend on
    which chains share its group.

    Args:
        objective: The loss; its centre is where the chains start.
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
        self._draw_noise = build_noise(objective.precision, objective.anchor)
        self._displacement = torch.empty_like(
            self._weights
        )  # w − w* before the last step, or at a look
        self._gradient_stats = [
            torch.full_like(self._weights[:, 0], torch.nan)
        ] * 3  # of the gradients

    def advance(self, batches: Indices) -> StepRecord:
        """Take one step per column (see ``ChainGroup``)."""
        order = torch.as_tensor(batches, device=self._anchor.device)
        last = order.shape[1] - 1
        losses, virials, before = [], [], []
        with quiet_vmap():
            for step in range(order.shape[1]):
                losses.append(self._evaluate(order[:, step]))
                torch.sub(self._weights, self._anchor, out=self._displacement)
                virials.append(
                    torch.mul(self._displacement, self._gradient, out=self._noise).sum(1)
                )
                if step == last:
                    self._record_gradients(before, order)
                elif last - step <= 2:
                    before.append(self._gradient.clone())
                for row, generator in zip(self._noise, self._generators, strict=True):
                    self._draw_noise(row, generator)
                self._kernel.apply(self._weights, self._displacement, self._gradient, self._noise)
        return StepRecord(
            *(torch.stack(m, dim=1).double().cpu().numpy() for m in (losses, virials))
        )

    def full_losses(self, num_batches: int) -> Losses:
        """Return the mean loss over batches (see ``ChainGroup``)."""
        with quiet_vmap():
            losses = [self._losses(batch) for batch in range(num_batches)]
        return torch.stack(losses).double().mean(0).cpu().numpy()

    def observe(self, gradient_at_anchor: torch.Tensor) -> ChainState:
        """Return where the chains stand (see ``ChainGroup``)."""
        displacement = torch.sub(self._weights, self._anchor, out=self._displacement)
        first_order = displacement @ gradient_at_anchor
        state = (displacement.square_().sum(1), first_order, *self._gradient_stats)
        return ChainState(*(values.double().cpu().numpy() for values in state))

    def _record_gradients(self, before: Sequence[torch.Tensor], order: torch.Tensor) -> None:
        """Keep what a look tells of the last gradient and of up to two before it."""
        metric_product, last = self._kernel.metric_product, self._gradient
        squared = metric_product(last, last)
        diff_1 = diff_2 = torch.full_like(squared, torch.nan)
        if before:
            ahead = last - before[-1]
            differ = order[:, -1] != order[:, -2]
            diff_1 = torch.where(differ, 0.5 * metric_product(ahead, ahead), diff_1)
            if len(before) == 2:
                behind = before[0] - before[1]
                differ &= (order[:, -3] != order[:, -2]) & (order[:, -3] != order[:, -1])
                diff_2 = torch.where(differ, metric_product(ahead, behind), diff_2)
        self._gradient_stats = [squared, diff_1, diff_2]

    def _evaluate(self, batch: torch.Tensor) -> torch.Tensor:
        return self._objective.gradients(self._weights, batch, out=self._gradient)

    def _losses(self, batch: int) -> torch.Tensor:
        return self._objective.losses(self._weights, batch)


class SequentialChain(VectorizedChains):
    """One chain without vmap, for models that vmap refuses. Same update, same noise, same path."""

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
