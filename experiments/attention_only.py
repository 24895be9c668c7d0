"""A language model of attention layers alone, small enough for two cores."""

from __future__ import annotations

import math

import torch
from lightning.pytorch import LightningModule
from torch import nn
from torch.nn.functional import cross_entropy, linear


class Attention(nn.Module):
    """Causal attention whose queries and keys know positions, and whose values do not.

    Values free of positions let a second layer read from the first what a token was, wherever it
    stood (Press et al. 2021, arXiv:2012.15832); Hoogland et al. 2024 train such networks.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out_proj = nn.Linear(width, width, bias=False)
        self._heads = heads

    def forward(self, x: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
        """Return what the heads write, as x: (sample, position, width)."""
        pair, value = self.qkv.weight.split((2 * x.shape[-1], x.shape[-1]))
        q, k = (self._by_head(y) for y in linear(x + position, pair).chunk(2, dim=-1))
        later = torch.ones(2 * x.shape[1:2], dtype=torch.bool, device=x.device).triu(1)
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        mixed = scores.masked_fill(later, -torch.inf).softmax(-1) @ self._by_head(linear(x, value))
        return self.out_proj(mixed.transpose(1, 2).flatten(-2))

    def _by_head(self, x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(-1, (self._heads, -1)).transpose(1, 2)  # (sample, head, position, …)


class AttentionOnly(LightningModule):
    """Two attention layers between an embedding and an unembedding.

    Embeddings start at .5 rather than at the usual .02, at which what the first layer writes would
    drown them in the sum that the second layer's norm sees.

    Args:
        vocabulary, context, width, heads: Sizes.
        lr: Of Adam.

    Shapes:
        batch: tokens (sample, position); each but the first is to be told from those before it.
    """

    sines: torch.Tensor

    def __init__(
        self, vocabulary: int, context: int, width: int, heads: int, *, lr: float = 5e-3
    ) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        nn.init.normal_(self.embed.weight, std=0.5)
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(3)])
        self.attn = nn.ModuleList([Attention(width, heads) for _ in range(2)])
        self.unembed = nn.Linear(width, vocabulary, bias=False)
        self.register_buffer("sines", sines(context, width), persistent=False)
        self._lr = lr

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return logits (sample, position, vocabulary)."""
        x = self.embed(tokens)
        position = self.sines[: tokens.shape[1]]
        for norm, attn in zip(self.norms, self.attn):  # the last norm is for the end
            x = x + attn(norm(x), position)
        return self.unembed(self.norms[-1](x))

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        """Return the cross-entropy per token in nats."""
        return cross_entropy(self(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adam."""
        return torch.optim.Adam(self.parameters(), lr=self._lr)


def sines(context: int, width: int) -> torch.Tensor:
    """Return fixed positions (context, width): sines, then cosines, of 2π to about 200π tokens."""
    slowness = 100 ** (torch.arange(0, width, 2) / width)
    angle = torch.arange(context)[:, None] / slowness
    return torch.cat([angle.sin(), angle.cos()], dim=-1)
