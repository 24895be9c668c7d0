"""What metrics on language models have in common that look along chains around the weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from devtrack.errors import DataError
from devtrack.metrics.language.in_context_loss import (
    LogitsFunction,
    call_model,
    first_tensor,
    require_logits,
)
from devtrack.metrics.metric import MetricOptions, Subject
from devtrack.records import Row, Status, without_nan
from devtrack.sampling._objective import Parts
from devtrack.sampling._sequence_losses import SequenceLosses, draw_losses, num_sampled
from devtrack.sampling.config import SamplerConfig
from devtrack.sampling.diagnostics import diagnose, require_chains
from devtrack.sampling.diagnostics._covariance import Covariance
from devtrack.sampling.diagnostics._failures import failed_chains


class SequenceDraws(NamedTuple):
    """Losses of sequences along the chains that hold, and how far to trust them.

    Attributes:
        losses: The first ``num_reference`` sequences are of the sampling loss L.
        num_reference: How many.
        status, attrs: Of every row made from these chains.
    """

    losses: SequenceLosses
    num_reference: int
    status: Status
    attrs: Mapping[str, Any]

    def mean(self, which: slice) -> npt.NDArray[np.float64]:
        """Return the mean loss of some of the sequences at every draw, (chain, draw)."""
        return self.losses.draws[..., which].mean(2)

    def excess(self, which: slice) -> npt.NDArray[np.float64]:
        """Return the same less its value at w*."""
        return self.mean(which) - self.losses.baseline[which].mean()

    @property
    def reference(self) -> slice:
        """The sequences of L."""
        return slice(0, self.num_reference)


@dataclass(frozen=True, kw_only=True)
class SequenceSampler(MetricOptions):
    """Langevin chains around a language model's weights, by devinterp (see ``sampling.language``).

    Args:
        data: Text to sample on (see ``fixed_batches``); else the run's batches.
        n_beta, localization, lr: nβ, γ and ε as in ``LLC``; the defaults are Baker et al.'s.
        num_chains, num_draws, num_burnin_steps, num_steps_bw_draws: As in ``LLC``.
        batch_size: Sequences of a step.
        num_observed: Of each data set, the first so many sequences are looked at, at every draw.
        tokens: Maps a batch to tokens (sample, position); its first tensor or ``input_ids`` by
            default.
        logits: Maps (model, tokens) to logits (sample, position, vocabulary).

    Raises:
        ConfigError: If a number is outside its range.
    """

    data: Any = None
    n_beta: float = 30.0
    localization: float = 300.0
    lr: float = 1e-3
    num_chains: int = 4
    num_draws: int = 200
    num_burnin_steps: int = 100
    num_steps_bw_draws: int = 1
    batch_size: int = 64
    num_observed: int = 64
    tokens: Callable[[Any], torch.Tensor] = first_tensor
    logits: LogitsFunction = call_model

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.config  # checks the numbers
        require_chains(self.num_chains)

    @property
    def config(self) -> SamplerConfig:
        """The sampler's part of the configuration."""
        return SamplerConfig(
            n_beta=self.n_beta,
            localization=self.localization,
            lr=self.lr,
            num_chains=self.num_chains,
            num_draws=self.num_draws,
            num_burnin_steps=self.num_burnin_steps,
            num_steps_bw_draws=self.num_steps_bw_draws,
        )

    def text_of(self, subject: Subject, data: Any) -> torch.Tensor:
        """Return the sequences of a data set, (sequence, position).

        Raises:
            DataError: If they are of different lengths.
        """
        return _joined([self.tokens(batch) for batch in subject.batches_of(data)])

    def sample_losses(
        self, subject: Subject, others: list[torch.Tensor], parts: Parts | None = None
    ) -> SequenceDraws:
        """Sample, and look at the first sequences of the sampling text and then at ``others``."""
        text = self.text_of(subject, self.data)
        reference = text[: self.num_observed]
        losses = draw_losses(
            subject.model,
            self._token_losses,
            text,
            _joined([reference, *others]),
            config=self.config,
            batch_size=self.batch_size,
            generator=subject.generator,
            parts=parts,
        )
        return self._diagnosed(losses, len(reference), num_sampled(subject.model, parts))

    def _token_losses(self, model: nn.Module, tokens: torch.Tensor) -> torch.Tensor:
        logits = require_logits(self.logits(model, tokens), tokens)[:, :-1]
        return functional.cross_entropy(
            logits.transpose(1, 2).float(), tokens[:, 1:], reduction="none"
        )

    def _diagnosed(
        self, losses: SequenceLosses, num_reference: int, num_parameters: int
    ) -> SequenceDraws:
        """Leave out the chains that failed, and hold the others to what the LLC is held to."""
        which = slice(0, num_reference)
        excess = losses.draws[..., which].mean(2) - losses.baseline[which].mean()
        signal = self.n_beta * excess  # (chain, draw)
        found = diagnose(signal, signal, num_parameters=num_parameters)
        _, holds = failed_chains(np.array(found.chain_values), num_parameters)
        attrs = {
            "reasons": list(found.reasons),
            "llc": without_nan(found.value),
            "rhat": without_nan(found.rhat),
            "ess": without_nan(found.ess),
            "gamma_ratio": without_nan(found.gamma_ratio),
            "n_beta": self.n_beta,
            "localization": self.localization,
            "lr": self.lr,
            "num_chains": self.num_chains,
            "num_draws": self.num_draws,
            "num_parameters": num_parameters,
            "engine": "devinterp",
        }
        if found.status is Status.FAILED:
            attrs["error"] = "; ".join(found.reasons)
        kept = SequenceLosses(losses.draws[holds], losses.baseline)
        return SequenceDraws(kept, num_reference, found.status, attrs)


def covariance_row(
    metric: str, site: str, found: Covariance, *sequence_draws: SequenceDraws
) -> Row:
    """Return minus a covariance, as trustworthy as the worst of the chains behind it."""
    statuses = [one.status for one in sequence_draws]
    worst = max(statuses, key=[Status.OK, Status.SUSPECT, Status.FAILED].index)
    reasons = dict.fromkeys(reason for one in sequence_draws for reason in one.attrs["reasons"])
    attrs = {**sequence_draws[-1].attrs, "reasons": list(reasons)}
    if worst is Status.FAILED:
        attrs["error"] = "; ".join(reasons)
    return Row(metric, -found.value, found.se, site, worst, attrs)


def _joined(parts: list[torch.Tensor]) -> torch.Tensor:
    lengths = {part.shape[1] for part in parts}
    if len(lengths) > 1:
        raise DataError(
            f"sequences of {sorted(lengths)} tokens: all must be of one length. Cut them with "
            f"tokens=lambda batch: batch[:, :{min(lengths)}]."
        )
    return torch.cat(parts)
