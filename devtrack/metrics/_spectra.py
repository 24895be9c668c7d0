"""Singular values of the weight matrices."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

from devtrack.errors import MetricError
from devtrack.metrics._sites import globs_of
from devtrack.metrics.metric import MetricOptions, Subject
from devtrack.metrics.representation.dimensionality import entropy_rank
from devtrack.records import Row, Status


@dataclass(frozen=True, kw_only=True)
class WeightSpectrum(MetricOptions):
    """Spectral norm, stable rank and effective rank of each weight matrix.

    With σ the singular values, largest first: ``<name>/spectral_norm`` = σ₁,
    ``<name>/stable_rank`` = Σσ² / σ₁², ``<name>/effective_rank`` = exp(−Σ p ln p) for p = σ / Σσ.
    Exact, hence without standard errors. (Euclidean norms: ``WeightNorm``.)

    A matrix is a parameter with two dimensions of at least 2. A convolution's matrix is (out
    channel, all else), as it is applied to patches. Any other parameter with more dimensions is a
    stack of matrices in its last two, e.g. (head, model, head width). Each matrix has a row.

    Args:
        sites: Globs of parameter paths, e.g. ``("blocks.*.mlp.*",)``; sites of the rows are the
            paths, with the index in a stack: ``attn.W_Q.0``.
        name: Prefix of the rows.

    Source:
        Rudelson & Vershynin 2007 (J. ACM 54) for the stable rank; Roy & Vetterli 2007 (EUSIPCO)
        for the effective rank.
    """

    sites: str | Sequence[str] = ("*",)
    name: str = "spectrum"

    def compute(self, subject: Subject) -> Iterator[Row]:
        """Yield three rows per matrix."""
        for site, matrix in weight_matrices(subject.model, self.sites):
            if not matrix.isfinite().all():
                yield self._failed("spectral_norm", site, f"parameter {site!r} is not finite")
                continue
            sigma = torch.linalg.svdvals(matrix.double().cpu())
            largest = float(sigma[0])
            yield Row(f"{self.name}/spectral_norm", largest, site=site)
            if largest == 0:
                yield self._failed(
                    "stable_rank", site, f"parameter {site!r} is zero: it has no rank"
                )
                continue
            stable_rank = float((sigma / largest).square().sum())
            yield Row(f"{self.name}/stable_rank", stable_rank, site=site)
            yield Row(f"{self.name}/effective_rank", entropy_rank(sigma), site=site)

    def _failed(self, kind: str, site: str, error: str) -> Row:
        name = f"{self.name}/{kind}"
        return Row(name, math.nan, site=site, status=Status.FAILED, attrs={"error": error})


def weight_matrices(
    model: nn.Module, sites: str | Sequence[str]
) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield (path, matrix) for the parameters whose path matches one of the globs ``sites``.

    Raises:
        MetricError: If a glob matches no weight matrix; names the nearest paths.
    """
    globs = globs_of(sites)
    found: dict[str, list[tuple[str, torch.Tensor]]] = {}
    for path, parameter in model.named_parameters():
        owner = model.get_submodule(path.rpartition(".")[0])
        if matrices := _matrices(path, parameter.detach(), isinstance(owner, _ConvNd)):
            found[path] = matrices
    for glob in globs:
        if not any(fnmatchcase(path, glob) for path in found):
            near = difflib.get_close_matches(glob, found, n=3, cutoff=0.3) or list(found)[:3]
            raise MetricError(
                f"site {glob!r}: no weight matrix has this path. Near ones: "
                f"{', '.join(near) or 'none, the model has no matrix'}. "
                f"`model.named_parameters()` lists all parameters."
            )
    for path, matrices in found.items():
        if any(fnmatchcase(path, glob) for glob in globs):
            yield from matrices


def _matrices(path: str, weight: torch.Tensor, is_conv: bool) -> list[tuple[str, torch.Tensor]]:
    if weight.ndim > 2 and is_conv:
        weight = weight.flatten(1)
    if weight.ndim < 2 or min(weight.shape[-2:]) < 2:
        return []
    if weight.ndim == 2:
        return [(path, weight)]
    stack = weight.flatten(0, -3)
    return [(f"{path}.{index}", matrix) for index, matrix in enumerate(stack)]
