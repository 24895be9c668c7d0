"""What each attention head looks at: previous tokens, duplicates, what followed them last time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from devtrack.errors import MetricError
from devtrack.metrics.attention._patterns import attention_patterns, require_patterns
from devtrack.metrics.metric import MetricOptions, Subject
from devtrack.records import Row

Scores = dict[str, torch.Tensor]
"""Name of a score to its values, (sample, head)."""


@dataclass(frozen=True, kw_only=True)
class HeadScores(MetricOptions):
    """Scores of every attention head, at sites ``<module>.head.<h>``.

    On the run's data, by forward passes of the loss:

    - ``<name>/previous_token``: mean over t ≥ 1 of A[t, t − 1].
    - ``<name>/entropy``: mean over queries of −Σ A ln A, in nats.

    With ``vocabulary``, also on sequences [r][r] of ``length`` random tokens and the same again,
    which hold no statistics but their own repetition:

    - ``<name>/prefix_matching``: mean attention from the second occurrence of a token to the one
      after its first; high for induction heads.
    - ``<name>/duplicate_token``: the same to the first occurrence itself.

    These sequences depend on ``seed`` alone, and stay the same along a run and after a resume. The
    key ``uniform`` of ``attrs`` is the score of a causal head that attends equally to all it may
    see.
    Standard errors come from the spread over sequences. Padding is not known of: its positions
    count as any others.

    Args:
        sites: Globs of the modules that attend (see ``devtrack.metrics.attention._patterns``).
        name: Prefix of the rows.
        data: What to measure on (see ``fixed_batches``); else the run's batches.
        vocabulary: Random tokens are drawn from 0 … vocabulary − 1, without repeats inside [r] if
            there are enough of them.
        length: Tokens of [r].
        num_sequences: How many repeated sequences.
        forward: Calls the model on tokens (sample, position), as ``model(tokens)`` by default.
        seed: Chooses the random tokens.

    Raises:
        ConfigError: If a number is too small.

    Source:
        Elhage et al. 2021 and Olsson et al. 2022 (arXiv:2209.11895), "prefix matching score".
    """

    sites: str | Sequence[str] = ("*",)
    name: str = "head"
    data: Any = None
    vocabulary: int | None = None
    length: int = 32
    num_sequences: int = 32
    forward: Callable[[nn.Module, torch.Tensor], Any] | None = None
    seed: int = 0

    def compute(self, subject: Subject) -> Iterator[Row]:
        """Yield two or four rows per head."""
        batches = subject.batches_of(self.data)
        yield from self._rows(subject.model, batches, subject.loss, natural_scores)
        if self.vocabulary is not None:
            tokens = repeated_sequences(
                self.vocabulary, self.length, self.num_sequences, seed=self.seed
            )
            forward = self.forward or (lambda model, tokens: model(tokens))
            reduce = partial(repetition_scores, length=self.length)
            on_device = [tokens.to(subject.generator.device)]
            yield from self._rows(subject.model, on_device, forward, reduce)

    def _rows(
        self,
        model: nn.Module,
        batches: Sequence[Any],
        forward: Callable[[nn.Module, Any], Any],
        reduce: Callable[[torch.Tensor], tuple[Scores, dict[str, float]]],
    ) -> Iterator[Row]:
        parts: dict[str, list[tuple[Scores, dict[str, float]]]] = {}
        with torch.no_grad(), attention_patterns(model, self.sites, reduce=reduce) as seen:
            for batch in batches:
                seen.clear()
                forward(model, batch)
                for site, scores in seen.items():
                    parts.setdefault(site, []).append(scores)
        require_patterns(parts, self.sites, model)
        for site, found in parts.items():
            uniform = found[-1][1]
            for score in found[-1][0]:
                values = torch.cat([scores[score].cpu() for scores, _ in found])  # (sample, head)
                attrs: dict[str, Any] = {"num_sequences": len(values)}
                if score in uniform:
                    attrs["uniform"] = uniform[score]
                error = values.std(0) / math.sqrt(len(values)) if len(values) > 1 else None
                for head, value in enumerate(values.mean(0).tolist()):
                    se = math.nan if error is None else float(error[head])
                    place = f"{site}.head.{head}"
                    yield Row(f"{self.name}/{score}", value, se, place, attrs=attrs)


def natural_scores(pattern: torch.Tensor) -> tuple[Scores, dict[str, float]]:
    """Return previous-token score and entropy of (sample, head, query, key), and uniform values.

    Patterns that are not square (attention to another sequence) have an entropy only.
    """
    pattern = pattern.double() if pattern.device.type == "cpu" else pattern.float()
    entropy = -torch.special.xlogy(pattern, pattern).sum(-1).mean(-1)
    queries, keys = pattern.shape[-2:]
    if queries != keys or queries < 2:
        return {"entropy": entropy}, {}
    previous = pattern.diagonal(-1, -2, -1).mean(-1)
    seen = range(1, queries + 1)  # keys that a causal query may see
    uniform = {
        "previous_token": sum(1 / s for s in seen if s > 1) / (queries - 1),
        "entropy": sum(math.log(s) for s in seen) / queries,
    }
    return {"previous_token": previous, "entropy": entropy}, uniform


def repetition_scores(pattern: torch.Tensor, *, length: int) -> tuple[Scores, dict[str, float]]:
    """Return prefix-matching and duplicate-token scores on [r][r], and uniform values.

    Args:
        pattern: (sample, head, 2 · length, 2 · length).
        length: Tokens of [r].

    Raises:
        MetricError: If the pattern does not belong to such sequences.
    """
    if pattern.shape[-2:] != (2 * length, 2 * length):
        raise MetricError(
            f"attention pattern of {pattern.shape[-2]} queries and {pattern.shape[-1]} keys for "
            f"sequences of {2 * length} tokens: must be one each. Let forward= pass on exactly the "
            f"tokens it is given, or choose sites= of self-attention."
        )
    pattern = pattern.double() if pattern.device.type == "cpu" else pattern.float()
    scores = {
        "prefix_matching": pattern.diagonal(1 - length, -2, -1)[..., 1:].mean(-1),
        "duplicate_token": pattern.diagonal(-length, -2, -1).mean(-1),
    }
    uniform = sum(1 / (length + i + 1) for i in range(length)) / length
    return scores, dict.fromkeys(scores, uniform)


def repeated_sequences(vocabulary: int, length: int, count: int, *, seed: int) -> torch.Tensor:
    """Return random tokens followed by themselves, (count, 2 · length)."""
    # of its own: the same sequences at every snapshot, and the training's stream is not moved
    generator = torch.Generator().manual_seed(seed)
    if vocabulary >= length:
        order = torch.rand(count, vocabulary, generator=generator).argsort(1)
        half = order[:, :length]
    else:
        half = torch.randint(vocabulary, (count, length), generator=generator)
    return half.repeat(1, 2)
