"""Susceptibilities: how a component's posterior answers a change of the data."""

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

    φ_C is the loss L less L(w*) where only the weights of component C have left w*; ℓ is the mean
    loss on a data set. χ < 0 where the component's variations that hurt on the run's text hurt on
    that data set even more than on the text. As in the paper, ℓ − L is centred by its mean under
    chains in all weights: E_C[φ_C (ℓ − L)] − E_C[φ_C] E[ℓ − L]. A row ``<name>/<data set>`` for
    each component and data set, in nats².

    One sampling pass for all weights and one for each component. Status and reasons are those of
    the chains, judged as an LLC's are.

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
        full_draws = self.sample_losses(subject, probes)
        for component in components:
            component_draws = self.sample_losses(subject, probes, component.parts)
            end = component_draws.num_reference
            for name, probe in zip(self.perturbation_data, probes, strict=True):
                start, end = end, end + len(probe)
                found = _susceptibility(component_draws, full_draws, slice(start, end))
                yield covariance_row(
                    f"{self.name}/{name}", component.site, found, full_draws, component_draws
                )


def _susceptibility(
    component_draws: SequenceDraws, full_draws: SequenceDraws, probe: slice
) -> Covariance:
    if Status.FAILED in (component_draws.status, full_draws.status):
        return Covariance(float("nan"), float("nan"))
    return covariance_about(
        component_draws.excess(component_draws.reference),
        component_draws.mean(probe) - component_draws.mean(component_draws.reference),
        full_draws.mean(probe) - full_draws.mean(full_draws.reference),
    )
