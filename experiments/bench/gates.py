"""Sampling problems with a known answer, each with settings that should find it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from devtrack.metrics.llc import LLC
from devtrack.metrics.metric import LossFunction, Subject
from devtrack.records import Row
from devtrack.sampling.config import Method
from experiments import exact

Problem = tuple[nn.Module, LossFunction, list[Any]]
"""Model, loss, batches."""


@dataclass(frozen=True)
class Gate:
    """One problem.

    Args:
        name: What it is.
        truth: The value to find.
        tolerance: Relative error allowed; None for 3 standard errors.
        build: Returns the problem at w*.
        settings: How to sample it.
        affordable: Whether the reference engine takes less than a minute.
    """

    name: str
    truth: float
    tolerance: float | None
    build: Callable[[], Problem]
    settings: LLC
    affordable: bool = True

    def holds(self, row: Row) -> bool:
        """Say whether the estimate lies within the tolerance."""
        allowed = 3 * row.se if self.tolerance is None else self.tolerance * self.truth
        return abs(row.value - self.truth) <= allowed


def estimate(gate: Gate, *, seed: int = 0, settings: LLC | None = None) -> Row:
    """Return the row that LLC yields on the gate."""
    model, loss, batches = gate.build()
    generator = torch.Generator().manual_seed(seed)
    subject = Subject(model.eval(), 0, batches, loss, generator)
    rows = [r for r in (settings or gate.settings).compute(subject) if isinstance(r, Row)]
    return rows[0]


class Weights(nn.Module):
    """A bare vector of weights."""

    def __init__(self, values: Sequence[float]) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(values, dtype=torch.float64))


class DeepLinear(nn.Module):
    """x ↦ W_L ⋯ W_1 x."""

    def __init__(self, weights: Sequence[Any]) -> None:
        super().__init__()
        self.layers = nn.ParameterList([nn.Parameter(torch.as_tensor(w)) for w in weights])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the product applied to rows of ``x``."""
        for weight in self.layers:
            x = x @ weight.T
        return x


class ToySuperposition(nn.Module):
    """x ↦ ReLU(WᵀWx + b) with a number of features in 2 dimensions; 6 make 18 weights.

    Source:
        Chen et al. 2023 (arXiv:2310.06301).
    """

    def __init__(self, num_features: int = 6) -> None:
        super().__init__()
        self.w = nn.Parameter(0.3 * torch.randn(2, num_features))
        self.b = nn.Parameter(torch.zeros(num_features))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return reconstructions (sample, feature)."""
        return torch.relu(x @ self.w.T @ self.w + self.b)


NO_DATA = [torch.zeros(2, dtype=torch.float64)]
"""For losses that depend on the weights alone."""


def quadratic(num_parameters: int) -> Gate:
    """L = ½ Σ h_i w_i² with curvatures from ½ to 2."""
    curvature = torch.linspace(0.5, 2, num_parameters, dtype=torch.float64)

    def loss(model: Any, batch: Any) -> torch.Tensor:
        return 0.5 * (curvature * model.w.square()).sum()

    return Gate(
        f"quadratic, {num_parameters} dims",
        num_parameters / 2,
        0.03,
        lambda: (Weights([0.0] * num_parameters), loss, NO_DATA),
        LLC(
            method="sgld",
            n_beta=1000.0,
            localization=1.0,
            lr=2e-5,
            num_chains=64,
            num_draws=1500,
            num_burnin_steps=300,
        ),
    )


def normal_crossing(
    a: int,
    b: int,
    *,
    localization: float = 10.0,
    lr: float = 1e-4,
    num_draws: int = 800,
    affordable: bool = True,
) -> Gate:
    """L = (w1^a w2^b)² at the origin.

    The truth is the exact tempered mean at these nβ and γ, which goes to 1 / (2 max(a, b)) as nβ
    grows. The pull keeps chains off the far arms of the cross, where the curvature has no bound and
    any step is too large.
    """
    n_beta = 1e4

    def height(w1: Any, w2: Any) -> Any:
        return (w1**a * w2**b) ** 2

    def loss(model: Any, batch: Any) -> torch.Tensor:
        return height(model.w[0], model.w[1])

    return Gate(
        f"normal crossing ({a}, {b})",
        exact.tempered_mean(height, n_beta=n_beta, localization=localization),
        None,
        lambda: (Weights([0.0, 0.0]), loss, NO_DATA),
        LLC(
            method="sgld",
            n_beta=n_beta,
            localization=localization,
            lr=lr,
            num_chains=128,
            num_draws=num_draws,
            num_burnin_steps=2000,
            num_steps_bw_draws=4,
        ),
        affordable,
    )


def deep_linear(
    widths: Sequence[int],
    rank: int,
    *,
    localization: float = 10.0,
    lr: float = 6e-5,
    method: Method = "sgld",
    num_draws: int = 1500,
    affordable: bool = True,
) -> Gate:
    """Squared error of a balanced deep linear network to a teacher that is its own w*.

    The truth is Aoyagi's λ, less (m − 1) / log nβ at multiplicity m. The pull must hold the chains
    along the many flat directions within the draws, and leave the singular ones to the loss.
    """
    n_beta = 1000.0
    asymptotic = exact.deep_linear(widths, rank)

    def build() -> Problem:
        model = DeepLinear(exact.balanced_weights(widths, rank))
        generator = torch.Generator().manual_seed(1)
        shape = (16, 64, widths[0])
        inputs = torch.randn(shape, generator=generator, dtype=torch.float64)
        with torch.no_grad():
            batches = [(x, model(x)) for x in inputs]
        return model, squared_error, batches

    return Gate(
        f"deep linear {list(widths)} rank {rank}",
        asymptotic.value - (asymptotic.multiplicity - 1) / math.log(n_beta),
        0.10,
        build,
        LLC(
            method=method,
            n_beta=n_beta,
            localization=localization,
            lr=lr,
            num_chains=8,
            num_draws=num_draws,
            num_burnin_steps=num_draws,
        ),
        affordable,
    )


def at_zero_and_identity() -> Gate:
    """[2, 2, 2] at (0, I): the global λ is 1.5, the local one 2 = rank(Jacobian) / 2.

    A sampler sees the local one, as long as nβ holds it near w*.
    """

    def build() -> Problem:
        model = DeepLinear([torch.zeros(2, 2).double(), torch.eye(2).double()])
        inputs = 2**0.5 * torch.eye(2, dtype=torch.float64)  # covariance I, without data noise
        return model, squared_error, [(inputs, torch.zeros(2, 2, dtype=torch.float64))]

    settings = LLC(
        method="sgld",
        n_beta=1e5,
        localization=1e3,
        lr=1e-6,
        num_chains=64,
        num_draws=1500,
        num_burnin_steps=500,
    )
    return Gate("deep linear [2, 2, 2] rank 0 at (0, I)", 2.0, 0.05, build, settings)


def polygon(k: int, num_features: int, truth: float, *, plus: bool = False) -> Gate:
    """Toy model of superposition at a regular k-gon: one feature at a time, sizes up to 1.

    An unused feature has no column and a bias well below 0, where nothing happens; with ``plus``
    its bias is 1 / (2c), the best constant. Sizes lie on a grid, one batch holds them all, and the
    polygon is polished on it, so that w* is a minimum of the very loss that is sampled.

    Args:
        k: Corners.
        num_features: Features c.
        truth: λ from Chen et al. 2023.
        plus: Whether the unused features have a positive bias.

    Source:
        Critical points (l*, b*) and λ: Chen et al. 2023 (arXiv:2310.06301); science.md §3.
    """
    length, bias = {5: (1.17046, -0.28230), 6: (1.32053, -0.61814)}[k]

    def build() -> Problem:
        model = ToySuperposition(num_features).double()
        angle = 2 * torch.pi * torch.arange(k, dtype=torch.float64) / k
        with torch.no_grad():
            model.w.zero_()
            model.w[:, :k] = length * torch.stack([angle.cos(), angle.sin()])
            model.b.fill_(1 / (2 * num_features) if plus else -0.5)
            model.b[:k] = bias
        sizes = (torch.arange(100, dtype=torch.float64) + 0.5) / 100
        x = (torch.eye(num_features, dtype=torch.float64)[:, None] * sizes[:, None]).flatten(0, 1)
        _polish(model, (x, x))
        return model, reconstruction_error, [(x, x)]

    return Gate(
        f"superposition, {k}-gon{'+' if plus else ''} of {num_features} features",
        truth,
        0.03,
        build,
        LLC(
            method="lm_sgld",  # exact on quadratics at any step size, so that fewer steps do
            n_beta=3e4,
            localization=30.0,
            lr=2e-5,
            num_chains=32,
            num_draws=1000,
            num_burnin_steps=500,
        ),
        affordable=False,
    )


def _polish(model: nn.Module, batch: Any) -> None:
    """Walk to the minimum nearby."""
    optimizer = torch.optim.LBFGS(
        model.parameters(), max_iter=200, tolerance_grad=1e-12, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = reconstruction_error(model, batch).mean()
        loss.backward()
        return loss

    optimizer.step(closure)


def reconstruction_error(model: nn.Module, batch: Any) -> torch.Tensor:
    """Return ‖model(x) − y‖² per sample, (batch,)."""
    return 2 * squared_error(model, batch)


def squared_error(model: nn.Module, batch: Any) -> torch.Tensor:
    """Return ½ ‖model(x) − y‖² per sample, (batch,)."""
    inputs, targets = batch
    return 0.5 * (model(inputs) - targets).square().sum(-1)


def gates() -> list[Gate]:
    """Return every gate, the quick ones first."""
    return [
        quadratic(10),
        quadratic(200),
        normal_crossing(1, 1, localization=30.0, lr=3e-5),
        normal_crossing(2, 1),
        at_zero_and_identity(),
        deep_linear([5, 3, 5], 3),
        deep_linear([8, 4, 8], 2),
        deep_linear([16, 8, 8, 8, 16], 4),
        deep_linear([10, 10, 10], 5),
        deep_linear([10, 20, 20, 10], 10, localization=30.0, lr=3e-5),
        polygon(5, 5, 7.0),
        polygon(5, 6, 7.0),
        polygon(5, 6, 8.5, plus=True),
        polygon(6, 6, 8.5),
        normal_crossing(1, 3, num_draws=3000, affordable=False),
        *(_singular(widths, rank) for widths, rank in SINGULAR),
    ]


SINGULAR = (([5, 4, 5], 0), ([2, 2, 2], 1), ([5, 5, 5, 5], 2), ([10, 10, 10, 10], 3))
"""Widths and ranks where λ comes from high orders of the loss, and a strong pull would hide it."""


def _singular(widths: Sequence[int], rank: int) -> Gate:
    return deep_linear(
        widths,
        rank,
        localization=3.0,
        lr=5e-5,
        method="lm_sgld",
        num_draws=5000,
        affordable=False,
    )


BAD_SETTINGS = ("lr × 30", "lr × 1000", "NaN in the data", "w* not a minimum", "too little data")
"""Ways to get a wrong number; every one of them must cost the estimate its status ok."""


def spoil(gate: Gate, how: str, *, seed: int = 0) -> Gate:
    """Return the gate with one thing made wrong (see ``BAD_SETTINGS``)."""
    if how.startswith("lr × "):
        factor = float(how.removeprefix("lr × "))
        return replace(gate, settings=replace(gate.settings, lr=factor * gate.settings.config.lr))

    if how == "too little data":
        return replace(gate, settings=replace(gate.settings, batch_size=1025))

    def build() -> Problem:
        model, loss, batches = gate.build()
        if how == "NaN in the data":
            first = [torch.full_like(tensor, torch.nan) for tensor in batches[0]]
            return model, loss, [tuple(first), *batches[1:]]
        assert how == "w* not a minimum", f"{how!r} is not in {BAD_SETTINGS}"
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in model.parameters():
                noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
                parameter.add_(noise, alpha=0.2)
        return model, loss, batches

    return replace(gate, build=build)
