"""How a language model's loss falls along its context: in-context learning."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from devtrack.errors import ConfigError, MetricError
from devtrack.metrics.metric import MetricOptions, Subject
from devtrack.records import Row

LogitsFunction = Callable[[nn.Module, torch.Tensor], torch.Tensor]
"""Maps (model, tokens (sample, position)) to logits (sample, position, vocabulary)."""


def call_model(model: nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    """Return ``model(tokens)``, or its ``logits`` if it returns an object that has them."""
    output = model(tokens)
    return output if isinstance(output, torch.Tensor) else output.logits


def first_tensor(batch: Any) -> torch.Tensor:
    """Return the batch, its ``input_ids``, or its first element."""
    if isinstance(batch, torch.Tensor):
        return batch
    return batch["input_ids"] if isinstance(batch, dict) else batch[0]


@dataclass(frozen=True, kw_only=True)
class InContextLoss(MetricOptions):
    """Loss by position, and the in-context learning score.

    The loss at position k is the cross-entropy, in nats, of the token that follows the first k
    tokens. The row ``<name>/icl_score`` is the mean loss at ``late`` minus that at ``early``. It is
    below 0 where the model makes use of its context. The row ``<name>/position_<k>`` is the mean
    loss at k. The score's
    error comes from the difference within each sequence, since both ends share its difficulty.

    Args:
        early, late: Positions of the score; 50 and 500 in Hoogland et al.
        positions: Further positions to report, beside those two.
        name: Prefix of the rows.
        data: What to measure on (see ``fixed_batches``); else the run's batches.
        tokens: Maps a batch to tokens (sample, position); its first tensor or ``input_ids`` by
            default.
        logits: Maps (model, tokens) to logits (sample, position, vocabulary).

    Raises:
        ConfigError: If a position is below 1, or ``late`` does not come after ``early``.

    Source:
        Olsson et al. 2022 (arXiv:2209.11895); Hoogland et al. 2024 (arXiv:2402.02364).
    """

    early: int = 50
    late: int = 500
    positions: Sequence[int] = ()
    name: str = "context"
    data: Any = None
    tokens: Callable[[Any], torch.Tensor] = first_tensor
    logits: LogitsFunction = call_model

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.early, *self.positions, self.late) < 1 or self.late <= self.early:
            raise ConfigError(
                f"early={self.early}, late={self.late}, positions={list(self.positions)}: all must "
                f"be at least 1 and late above early. Use early=50, late=500."
            )

    def compute(self, subject: Subject) -> Iterator[Row]:
        """Yield the score and a row per position."""
        wanted = sorted({self.early, self.late, *self.positions})
        parts = []
        with torch.no_grad():
            for batch in subject.batches_of(self.data):
                losses = position_losses(subject.model, self.tokens(batch), self.logits)
                if losses.shape[1] < wanted[-1]:
                    raise MetricError(
                        f"position {wanted[-1]} in sequences of {losses.shape[1] + 1} tokens: must "
                        f"be at most {losses.shape[1]}. Set early=, late= and positions=."
                    )
                parts.append(losses[:, [k - 1 for k in wanted]].double().cpu())
        each = torch.cat(parts)  # (sample, wanted)
        gain = each[:, wanted.index(self.late)] - each[:, wanted.index(self.early)]
        yield _mean_row(f"{self.name}/icl_score", gain)
        for column, position in enumerate(wanted):
            yield _mean_row(f"{self.name}/position_{position}", each[:, column])


def position_losses(
    model: nn.Module, tokens: torch.Tensor, logits: LogitsFunction = call_model
) -> torch.Tensor:
    """Return the cross-entropy of each next token, (sample, position − 1), in nats.

    Raises:
        MetricError: If the logits are not (sample, position, vocabulary).
    """
    out = require_logits(logits(model, tokens), tokens)[:, :-1].float()
    return functional.cross_entropy(out.transpose(1, 2), tokens[:, 1:], reduction="none")


def require_logits(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Return ``logits`` if there are some for each token.

    Raises:
        MetricError: If not.
    """
    if logits.ndim != 3 or logits.shape[:2] != tokens.shape:
        raise MetricError(
            f"logits of shape {tuple(logits.shape)} for tokens of shape {tuple(tokens.shape)}: must"
            f" be (sample, position, vocabulary). Pass logits=lambda model, tokens: …"
        )
    return logits


def _mean_row(metric: str, values: torch.Tensor) -> Row:
    count = len(values)
    se = float(values.std()) / math.sqrt(count) if count > 1 else math.nan
    return Row(metric, float(values.mean()), se, attrs={"num_sequences": count})
