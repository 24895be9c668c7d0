"""Susceptibilities: response of a component's posterior to a change of the data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from devtrack.errors import ConfigError
from devtrack.metrics._components import HeadAxes, find_components, require_heads
from devtrack.metrics.language._posterior import SequenceDraws, SequenceSampler, covariance_row
from devtrack.metrics.metric import Subject
from devtrack.records import Row, Status
from devtrack.sampling.diagnostics._covariance import Covariance, covariance_about


@dataclass(frozen=True, kw_only=True)
class Susceptibility(SequenceSampler):
    """Susceptibility χ = −Cov_β(φ_C, ℓ − L) of components of a language model to data sets.

    φ_C is L − L(w*) where only the weights of component C are sampled. ℓ is the mean loss on a data
    set. χ < 0 means: variations of the component that raise L raise ℓ even more. As in the paper,
    ℓ − L is centred by its mean under chains in all weights: E_C[φ_C (ℓ − L)] − E_C[φ_C] E[ℓ − L].
    There is a row ``<name>/<data set>`` for each component and data set, in nats².

    Sampling runs once in all weights and once for each component. Status and reasons are those of
    the chains, by the quality checks of the LLC.

    Args:
        sites: Globs of module paths: a component for each match.
        perturbation_data: Data sets ℓ by name, each as ``fixed_batches`` takes them, of
            sequences as long as those of ``data``.
        num_heads, head_axes: As in ``LLC``: a component for each attention head.
        name: Prefix of the rows.

    All other settings are those of ``SequenceSampler``.

    Raises:
        ConfigError: If a number is outside its range, or there are no sites or data sets.

    Source:
        Baker et al. 2025 (arXiv:2504.18274), app. C.4.
    """

    sites: str | Sequence[str] = ()
    perturbation_data: Mapping[str, Any] = field(default_factory=dict)
    num_heads: int | None = None
    head_axes: HeadAxes | None = None
    name: str = "susceptibility"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_heads(self.num_heads, self.sites, self.head_axes)
        if not self.sites or not self.perturbation_data:
            raise ConfigError(
                f"sites={self.sites!r}, perturbation_data={list(self.perturbation_data)}: at least "
                f"one of each is needed. "
                f'Use sites="*.attn", perturbation_data={{"code": code_tokens}}.'
            )

    def compute(self, subject: Subject) -> Iterator[Row]:
        """Yield a row for each component and data set."""
        components = find_components(
            subject.model, self.sites, num_heads=self.num_heads, head_axes=self.head_axes
        )
        probes = [
            self.text_of(subject, data)[: self.num_observed]
            for data in self.perturbation_data.values()
        ]
        unrestricted = self.sample_losses(subject, probes)
        for component in components:
            restricted = self.sample_losses(subject, probes, component.parts)
            end = restricted.num_reference
            for name, probe in zip(self.perturbation_data, probes, strict=True):
                start, end = end, end + len(probe)
                found = _susceptibility(restricted, unrestricted, slice(start, end))
                yield covariance_row(
                    f"{self.name}/{name}", component.site, found, unrestricted, restricted
                )


def _susceptibility(
    restricted: SequenceDraws, unrestricted: SequenceDraws, probe: slice
) -> Covariance:
    if Status.FAILED in (restricted.status, unrestricted.status):
        return Covariance(float("nan"), float("nan"))
    return covariance_about(
        restricted.excess(restricted.reference),
        restricted.mean(probe) - restricted.mean(restricted.reference),
        unrestricted.mean(probe) - unrestricted.mean(unrestricted.reference),
    )
