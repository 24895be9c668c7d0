"""Small training problems, from 18 to 3 million weights, to time estimates on; no downloads.

Each is trained for some seconds and left in the middle of learning, where LLCs are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
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
        reference: SGLD settings for devinterp and for our engine that takes the same steps, at the
            nβ and γ of the question and at the lr at which their error is least (``llc --sweep``).
        best: Settings of our best answer to the same question.
        long_run: Settings that find the value which both should have: steps so small and chains so
            long that neither step size nor start is left in it.
    """

    name: str
    build: Callable[[str], Built]
    reference: LLC
    best: LLC
    long_run: LLC


def tasks(*, large: bool = False) -> list[Task]:
    """Return the tasks, smallest first.

    Args:
        large: Whether the language model of 3 million weights is among them.
    """
    text = LLC(method="sgld", n_beta=30.0, localization=1000.0)
    plain_text = replace(text, lr=7.5e-5, num_draws=100, num_burnin_steps=50)
    averaged_text = replace(
        text,
        method="lm_sgld",
        lr=1.5e-3,
        num_draws=128,
        num_burnin_steps=8,
        batch_size=4,
        precision="bf16",
    )
    long_text = replace(text, method="lm_sgld", lr=3e-4, num_draws=96, num_burnin_steps=80)
    found = [_tms(), _deep_linear(), _modular_mlp()]
    for name, vocabulary, width in (("0.3M", 512, 128), ("3M", 2048, 384))[: 1 + large]:
        build = partial(language_model, vocabulary=vocabulary, width=width)
        found.append(Task(f"attention {name}", build, plain_text, averaged_text, long_text))
    return found


def _tms() -> Task:
    """Many chains cost as little as few: a step is calls, not arithmetic."""
    shared = LLC(method="sgld", n_beta=300.0, localization=1.0)
    averaged = replace(shared, method="lm_sgld", lr=4e-3, num_chains=256, num_draws=300)
    return Task(
        "TMS",
        toy_superposition,
        replace(shared, lr=2e-3, num_draws=400),
        averaged,
        replace(averaged, lr=5e-4, num_chains=64, num_draws=5000, num_burnin_steps=5000),
    )


def _deep_linear() -> Task:
    shared = LLC(method="sgld", n_beta=1000.0, localization=10.0)
    averaged = replace(shared, method="lm_sgld", lr=2e-4, num_chains=256, num_draws=200)
    return Task(
        "deep linear",
        deep_linear,
        replace(shared, lr=1e-4, num_draws=400),
        replace(averaged, num_burnin_steps=200),
        replace(averaged, lr=3e-5, num_chains=64, num_draws=3000, num_burnin_steps=4000),
    )


def _modular_mlp() -> Task:
    """Gradients are noisy over batches, which lifts the draws (``Heat``), not the looks."""
    shared = LLC(method="sgld", n_beta=300.0, localization=300.0)
    averaged = replace(shared, method="lm_sgld")
    return Task(
        "modular MLP",
        modular_mlp,
        replace(shared, lr=1e-4, num_draws=200),
        replace(
            averaged,
            lr=1e-3,
            num_draws=192,
            num_burnin_steps=8,
            batch_size=1024,
            precision="bf16",
            engine="sequential",
        ),
        replace(averaged, evaluate_on="full_data", lr=1e-4, num_draws=1000, num_burnin_steps=400),
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
