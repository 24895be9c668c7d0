"""Bayesian influence: which sequences of the training text bear on an observed loss."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from devtrack.errors import ConfigError
from devtrack.metrics.language._posterior import SequenceSampler, covariance_row
from devtrack.metrics.metric import Subject
from devtrack.records import Row, Status
from devtrack.sampling.diagnostics._covariance import Covariance, covariance


@dataclass(frozen=True, kw_only=True)
class BayesianInfluence(SequenceSampler):
    """Bayesian influence −Cov_β(ℓ_i, φ) of training sequences on the loss on other data.

    ℓ_i is the loss of sequence i, φ the mean loss on a query set. It is by how much φ would change
    if sequence i weighed more in the posterior, up to the factor nβ: below 0 where the sequence
    helps. A row ``<name>/<query>`` for each of the first ``num_examples`` sequences, with the site
    ``example.<i>``, in nats².

    One sampling pass in all weights serves all examples and queries. Status and reasons are those
    of the chains, judged as an LLC's are.

    Args:
        query_data: Query sets φ by name, each as ``fixed_batches`` takes them, of
            sequences as long as those of ``data``.
        num_examples: How many sequences; ``num_observed`` at most.
        name: Prefix of the rows.

    All other settings are those of ``SequenceSampler``.

    Raises:
        ConfigError: If a number is outside its range, or there are no queries.

    Source:
        Kreer et al. 2025 (arXiv:2509.26544).
    """

    query_data: Mapping[str, Any] = field(default_factory=dict)
    num_examples: int = 16
    name: str = "influence"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.query_data or not 1 <= self.num_examples <= self.num_observed:
            raise ConfigError(
                f"query_data={list(self.query_data)}, num_examples={self.num_examples}: at "
                f"least one query, and from 1 to num_observed={self.num_observed} examples. Use "
                f'query_data={{"code": code_tokens}}, num_examples=16.'
            )

    def compute(self, subject: Subject) -> Iterator[Row]:
        """Yield a row for each example and query."""
        query_data = [
            self.text_of(subject, data)[: self.num_observed] for data in self.query_data.values()
        ]
        sequence_draws = self.sample_losses(subject, query_data)
        end = sequence_draws.num_reference
        for name, query in zip(self.query_data, query_data, strict=True):
            start, end = end, end + len(query)
            for example in range(min(self.num_examples, sequence_draws.num_reference)):
                found = Covariance(float("nan"), float("nan"))
                if sequence_draws.status is not Status.FAILED:
                    example_losses = sequence_draws.mean(slice(example, example + 1))
                    found = covariance(example_losses, sequence_draws.mean(slice(start, end)))
                yield covariance_row(
                    f"{self.name}/{name}", f"example.{example}", found, sequence_draws
                )
