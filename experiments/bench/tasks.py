"""Small training problems, from 18 to 3 million weights, to time estimates on; no downloads.

Each is trained for some seconds and left in the middle of learning, where LLCs are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from devtrack.metrics.llc import LLC
from experiments.bench.gates import DeepLinear, ToySuperposition, squared_error
from experiments.exact import balanced_weights
from experiments.library_text import library_tokens, windows

Built = tuple[nn.Module, Callable[[nn.Module, Any], torch.Tensor], list[Any]]
"""Model, loss, batches: all on one device."""


@dataclass(frozen=True)
class Task:
    """One problem.

    Args:
        name: What it is.
        build: Trains the model and returns the problem on the device given.
        reference: SGLD settings for devinterp and for our engine that takes the same steps.
        default: Settings of our best answer to the same question.
    """

    name: str
    build: Callable[[str], Built]
    reference: LLC
    default: LLC


def tasks(*, large: bool = False) -> list[Task]:
    """Return the tasks, smallest first.

    Args:
        large: Whether the language model of 3 million weights is among them.
    """
    tms = {"n_beta": 300.0, "localization": 1.0, "num_draws": 400}
    linear = {"n_beta": 1000.0, "localization": 1.0, "num_draws": 400}
    mlp = {"n_beta": 100.0, "localization": 100.0, "num_draws": 200}
    text = {"n_beta": 30.0, "localization": 300.0, "num_draws": 100, "num_burnin_steps": 50}
    found = [
        _task("TMS", toy_superposition, tms, 2e-4, 2e-3),
        _task("deep linear", deep_linear, linear, 3e-5, 2e-4),
        _task("modular MLP", modular_mlp, mlp, 3e-4, 1e-3),
        _task("attention 0.3M", lambda device: language_model(device, 512, 128), text, 3e-4, 3e-4),
    ]
    if large:
        build = lambda device: language_model(device, 2048, 384)  # noqa: E731
        found.append(_task("attention 3M", build, text, 3e-4, 3e-4))
    return found


def _task(name: str, build: Any, shared: dict[str, Any], lr: float, default_lr: float) -> Task:
    return Task(
        name,
        build,
        LLC(method="sgld", lr=lr, **shared),
        LLC(method="lm_sgld", lr=default_lr, **shared),
    )


def toy_superposition(device: str) -> Built:
    """One feature at a time, its size uniform on [0, 1]."""
    torch.manual_seed(0)
    chosen = torch.randint(6, (16 * 64,))
    data = functional.one_hot(chosen, 6) * torch.rand(16 * 64, 1)
    batches = [(x, x) for x in data.to(device).split(64)]
    return _trained(ToySuperposition(), squared_error, batches, device, num_steps=1500, lr=1e-2)


def deep_linear(device: str) -> Built:
    """A balanced network at its teacher, λ = 47 to leading order."""
    model = DeepLinear([torch.as_tensor(w).float() for w in balanced_weights([10, 10, 10], 5)])
    inputs = torch.randn(16, 64, 10, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        batches = [(x.to(device), model(x).to(device)) for x in inputs]
    return model.to(device).eval(), squared_error, batches


class ModularMlp(nn.Module):
    """Logits of (a + b) mod 113 from summed embeddings and one hidden layer: 200k weights."""

    def __init__(self, *, modulus: int = 113, width: int = 256, hidden: int = 448) -> None:
        super().__init__()
        self.embed = nn.Embedding(modulus, width)
        self.hidden = nn.Linear(width, hidden)
        self.unembed = nn.Linear(hidden, modulus)

    def forward(self, pairs: torch.Tensor) -> torch.Tensor:
        """Return logits (sample, modulus) for pairs (sample, 2)."""
        return self.unembed(torch.relu(self.hidden(self.embed(pairs).sum(-2))))


def cross_entropy(model: nn.Module, batch: Any) -> torch.Tensor:
    """Return the loss per prediction."""
    inputs, targets = batch
    logits = model(inputs)
    return functional.cross_entropy(logits.flatten(0, -2), targets.flatten(), reduction="none")


def modular_mlp(device: str) -> Built:
    """A third of all pairs, batches of 256, memorised."""
    torch.manual_seed(0)
    pairs = torch.cartesian_prod(torch.arange(113), torch.arange(113))
    pairs = pairs[torch.randperm(len(pairs))[: 16 * 256]].to(device)
    batches = [(part, part.sum(1) % 113) for part in pairs.split(256)]
    return _trained(ModularMlp(), cross_entropy, batches, device, num_steps=400, lr=3e-3)


class AttentionOnly(nn.Module):
    """A two-layer attention-only transformer with learned positions."""

    def __init__(self, vocabulary: int, width: int, *, context: int = 64, heads: int = 4) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.position = nn.Parameter(0.02 * torch.randn(context, width))
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(2)])
        self.qkv = nn.ModuleList([nn.Linear(width, 3 * width, bias=False) for _ in range(2)])
        self.out = nn.ModuleList([nn.Linear(width, width, bias=False) for _ in range(2)])
        self.unembed = nn.Linear(width, vocabulary, bias=False)
        self._heads = heads
        nn.init.normal_(self.embed.weight, std=0.02)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return logits (sample, position, vocabulary) for tokens (sample, position)."""
        x = self.embed(tokens) + self.position[: tokens.shape[-1]]
        for norm, qkv, out in zip(self.norms, self.qkv, self.out, strict=True):
            parts = qkv(norm(x)).unflatten(-1, (3, self._heads, -1))
            q, k, v = parts.permute(2, 0, 3, 1, 4)  # each (sample, head, position, head width)
            scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
            later = torch.ones(scores.shape[-2:], device=x.device).triu(1).bool()
            mixed = scores.masked_fill(later, -torch.inf).softmax(-1) @ v
            x = x + out(mixed.transpose(1, 2).flatten(-2))
        return self.unembed(x)


def language_model(device: str, vocabulary: int, width: int) -> Built:
    """The standard library's own sources, in tokens of a BPE trained on them; batches of 16."""
    torch.manual_seed(0)
    tokens = torch.cat(library_tokens(vocabulary, num_files=60))
    drawn = windows(tokens, 16 * 32, 65, generator=torch.default_generator).to(device)
    batches = [(part[:, :-1], part[:, 1:]) for part in drawn.split(16)]
    model = AttentionOnly(vocabulary, width)
    return _trained(model, cross_entropy, batches, device, num_steps=200, lr=1e-3)


def _trained(
    model: nn.Module,
    loss: Callable[[nn.Module, Any], torch.Tensor],
    batches: Sequence[Any],
    device: str,
    *,
    num_steps: int,
    lr: float,
) -> Built:
    model = model.to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    for step in range(num_steps):
        optimizer.zero_grad()
        loss(model, batches[step % len(batches)]).mean().backward()
        optimizer.step()
    return model.eval(), loss, list(batches)
