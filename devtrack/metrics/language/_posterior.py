"""Shared SGLD sampling for metrics on language models."""

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
    """Losses of sequences along the chains that count, with their status.

    Attributes:
        losses: The first ``num_reference`` sequences are those of the sampling loss L.
        num_reference: Number of these.
        status, attrs: Those of every row made from these chains.
    """

    losses: SequenceLosses
    num_reference: int
    status: Status
    attrs: Mapping[str, Any]

    def mean(self, which: slice) -> npt.NDArray[np.float64]:
        """Return the mean loss of some sequences at every draw, (chain, draw)."""
        return self.losses.draws[..., which].mean(2)

    def excess(self, which: slice) -> npt.NDArray[np.float64]:
        """Return the mean loss less its value at w*, (chain, draw)."""
        return self.mean(which) - self.losses.baseline[which].mean()

    @property
    def reference(self) -> slice:
        """The sequences of L."""
        return slice(0, self.num_reference)


@dataclass(frozen=True, kw_only=True)
class SequenceSampler(MetricOptions):
    """Langevin chains around a language model's weights, by devinterp (see ``_sequence_losses``).

    Args:
        data: Text to sample on (see ``fixed_batches``); the run's batches if None.
        n_beta, localization, lr: nβ, γ and ε as in ``LLC``; the defaults are Baker et al.'s.
        num_chains, num_draws, num_burnin_steps, num_steps_bw_draws: As in ``LLC``.
        batch_size: Sequences of a step.
        num_observed: Number of sequences of each data set, from its start, whose losses are
            measured at every draw.
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
        """Hyperparameters of the sampler."""
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
            DataError: If their lengths differ.
        """
        return _joined([self.tokens(batch) for batch in subject.batches_of(data)])

    def sample_losses(
        self, subject: Subject, others: list[torch.Tensor], parts: Parts | None = None
    ) -> SequenceDraws:
        """Sample, and return losses of the first sampling sequences and then of ``others``."""
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
        """Leave out failed chains, and apply the quality checks of the LLC to the others."""
        which = slice(0, num_reference)
        excess = losses.draws[..., which].mean(2) - losses.baseline[which].mean()
        llc_draws = self.n_beta * excess  # (chain, draw)
        failures = failed_chains(llc_draws, llc_draws, num_parameters)
        found = diagnose(llc_draws, llc_draws, num_parameters=num_parameters, failures=failures)
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
        valid = SequenceLosses(losses.draws[failures.is_valid], losses.baseline)
        return SequenceDraws(valid, num_reference, found.status, attrs)


def covariance_row(metric: str, site: str, found: Covariance, *sampled: SequenceDraws) -> Row:
    """Return a row with minus a covariance and the worst status of its chains."""
    statuses = [one.status for one in sampled]
    worst = max(statuses, key=[Status.OK, Status.SUSPECT, Status.FAILED].index)
    reasons = dict.fromkeys(reason for one in sampled for reason in one.attrs["reasons"])
    attrs = {**sampled[-1].attrs, "reasons": list(reasons)}
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
