"""How close a language model is to the n-gram statistics of its text."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from devtrack.errors import ConfigError, DataError
from devtrack.metrics.language.in_context_loss import (
    LogitsFunction,
    call_model,
    first_tensor,
    require_logits,
)
from devtrack.metrics.metric import MetricOptions, Subject
from devtrack.records import Row

_CONTEXTS_AT_ONCE = 64  # rows of (context, vocabulary) in memory


class Continuations(NamedTuple):
    """What follows a choice of contexts in a text.

    Attributes:
        contexts: (context, n − 1); for n = 1 one token, although the unigram does not look at it.
        tokens, counts, owner: (entry,): token ``tokens[e]`` follows context ``owner[e]``
            ``counts[e]`` times.
    """

    contexts: torch.Tensor
    tokens: torch.Tensor
    counts: torch.Tensor
    owner: torch.Tensor


@dataclass(frozen=True, kw_only=True)
class NGramScores(MetricOptions):
    """Cross-entropy between the model's next-token distribution and the empirical n-gram.

    For each n, ``num_contexts`` contexts of n − 1 tokens are drawn from the text as often as they
    occur there; the model sees nothing else. The row ``<name>/<n>gram`` is their mean of −Σ_x p̂(x
    | context) ln p_model(x | context), in nats. That is the bigram score of Hoogland et al. for n =
    2, and the loss on n-token contexts. For n = 1 the model is given one token, since it needs
    some, and is compared with p̂(x). The key ``floor`` of ``attrs`` is the entropy of p̂, the value
    of the n-gram itself. A score falls to its floor in the stage that has learned just these
    statistics. The unigram score rises again later.

    Text and contexts are fixed by ``seed``: they stay the same along a run and after a resume. The
    standard error is that of the choice of contexts, with the text taken as it is.

    Args:
        orders: Values of n.
        name: Prefix of the rows.
        data: The text: batches of tokens (see ``fixed_batches``); else the run's
            batches. The larger, the closer p̂ is to the truth.
        num_contexts: How many contexts for each n.
        tokens: Maps a batch to tokens (sample, position); its first tensor or ``input_ids`` by
            default.
        logits: Maps (model, tokens) to logits (sample, position, vocabulary).
        seed: Chooses the contexts.

    Raises:
        ConfigError: If an order is below 1, or there are fewer than 2 contexts.

    Source:
        Hoogland et al. 2024 (arXiv:2402.02364), app. B; Edelman et al. 2024 (arXiv:2402.11004).
    """

    orders: Sequence[int] = (1, 2, 3)
    name: str = "ngram"
    data: Any = None
    num_contexts: int = 256
    tokens: Callable[[Any], torch.Tensor] = first_tensor
    logits: LogitsFunction = call_model
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.orders:
            raise ConfigError(f"orders={self.orders!r}: must name an order. Use orders=(1, 2, 3).")

    def compute(self, subject: Subject) -> Iterator[Row]:
        """Yield one row per order."""
        for order, found in zip(self.orders, self._continuations(subject)):
            contexts = found.contexts.to(subject.generator.device)
            scores = []
            for start in range(0, len(contexts), _CONTEXTS_AT_ONCE):
                part = contexts[start : start + _CONTEXTS_AT_ONCE]
                with torch.no_grad():
                    logits = require_logits(self.logits(subject.model, part), part)[:, -1]
                log_p = logits.double() if logits.device.type == "cpu" else logits.float()
                scores.append(_cross_entropies(log_p.log_softmax(-1).cpu(), found, start))
            each = torch.cat(scores)  # (context,)
            attrs = {"num_contexts": len(each), "floor": entropy_of(found)}
            se = float(each.std()) / math.sqrt(len(each))
            yield Row(f"{self.name}/{order}gram", float(each.mean()), se, attrs=attrs)

    def _continuations(self, subject: Subject) -> list[Continuations]:
        found = subject.get_state(self)
        if found is None:  # counting the text once is enough
            text = [self.tokens(batch).cpu() for batch in subject.batches_of(self.data)]
            generator = torch.Generator().manual_seed(self.seed)
            found = [continuations(text, n, self.num_contexts, generator) for n in self.orders]
            subject.set_state(self, found)
        return found


def continuations(
    text: Sequence[torch.Tensor], order: int, num_contexts: int, generator: torch.Generator
) -> Continuations:
    """Draw contexts of ``order`` − 1 tokens from a text and count what follows each.

    Args:
        text: Tokens (sample, position); no n-gram reaches from one sample to the next.
        order: n.
        num_contexts: Contexts to draw, with replacement.

    Raises:
        DataError: If the sequences are shorter than ``order``.
    """
    width = max(order, 2)
    if min(part.shape[1] for part in text) < width:
        raise DataError(
            f"sequences of {min(part.shape[1] for part in text)} tokens: n-grams of order {order} "
            f"need at least {width}. Pass data= with longer sequences, or smaller orders=."
        )
    grams = torch.cat([part.unfold(1, width, 1).reshape(-1, width) for part in text])
    names, context_of = torch.unique(grams[:, :-1], dim=0, return_inverse=True)
    drawn = context_of[torch.randint(len(grams), (num_contexts,), generator=generator)]
    if order == 1:
        tokens, counts = torch.unique(torch.cat([p.reshape(-1) for p in text]), return_counts=True)
        owner = torch.arange(num_contexts).repeat_interleave(len(tokens))
        return Continuations(
            names[drawn], tokens.repeat(num_contexts), counts.repeat(num_contexts), owner
        )
    by_context = context_of.argsort()
    ends = torch.bincount(context_of, minlength=len(names)).cumsum(0)
    starts = torch.cat([ends.new_zeros(1), ends[:-1]])
    found = []
    for index, name in enumerate(drawn.tolist()):
        following = grams[by_context[starts[name] : ends[name]], -1]
        tokens, counts = torch.unique(following, return_counts=True)
        found.append((tokens, counts, torch.full_like(tokens, index)))
    tokens, counts, owner = (torch.cat(parts) for parts in zip(*found))
    return Continuations(names[drawn], tokens, counts, owner)


def entropy_of(found: Continuations) -> float:
    """Return the entropy of the empirical continuations in nats, mean over contexts."""
    totals = torch.zeros(len(found.contexts), dtype=torch.float64)
    totals.index_add_(0, found.owner, found.counts.double())
    p = found.counts / totals[found.owner]
    return float(-torch.special.xlogy(p, p).sum()) / len(found.contexts)


def _cross_entropies(log_p: torch.Tensor, found: Continuations, start: int) -> torch.Tensor:
    """Return −Σ p̂ ln p of the contexts ``start`` … from ``log_p`` (context, vocabulary)."""
    mine = (found.owner >= start) & (found.owner < start + len(log_p))
    owner, counts = found.owner[mine] - start, found.counts[mine].double()
    totals = torch.zeros(len(log_p), dtype=torch.float64).index_add_(0, owner, counts)
    weighted = counts * log_p[owner, found.tokens[mine]].double()
    return -torch.zeros_like(totals).index_add_(0, owner, weighted) / totals
