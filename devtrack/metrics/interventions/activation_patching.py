"""Which site carries what distinguishes two inputs: activation patching."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from devtrack.errors import MetricError
from devtrack.metrics._standard_errors import groups_of, jackknife_se
from devtrack.metrics.interventions._hooks import (
    Change,
    Place,
    Where,
    activation_at,
    changed,
    places,
    require_reached,
)
from devtrack.metrics.metric import MetricOptions, Subject
from devtrack.records import Row, Status


@dataclass(frozen=True, kw_only=True)
class ActivationPatching(MetricOptions):
    """How much of the effect returns when one site of the corrupted run is given clean activations.

    ``<name>`` at a site = mean(patched − corrupted) / mean(clean − corrupted). It is 0 where the
    site carries nothing of the difference, 1 where it carries all. Values outside are possible. The
    gap is mean(clean − corrupted), in the row ``<name>/gap``. Errors leave out one group of pairs
    at a time. Where
    the gap is within two of its errors of 0, the model does not tell the inputs apart (yet): the
    shares are then suspect.

    Args:
        sites: Globs of module paths.
        effect: Maps (model, inputs, batch) to a number per pair, (pair,). An example is the
            difference between the logits of two answers. Inputs are the clean or the corrupted
            ones.
        data: Batches that begin with (clean inputs, corrupted inputs): a tuple of tensors with a
            row per pair, and whatever else ``effect`` needs.
        name: The rows' metric.
        where: ``output`` or ``input`` of the modules; of a tuple the first tensor.
        num_heads: Patch equal parts of the last dimension one by one, at sites
            ``<module>.head.<h>`` (see ``Ablation``).
        num_groups: Groups of pairs for the standard error; 2 at least.

    Raises:
        ConfigError: If ``where`` is another word, or a number is too small.

    Source:
        Meng et al. 2022 (arXiv:2202.05262); Zhang & Nanda 2023 (arXiv:2309.16042), whose
        normalised metric this is (denoising).
    """

    sites: str | Sequence[str]
    effect: Callable[[nn.Module, Any, Any], torch.Tensor]
    data: Any
    name: str = "patching"
    where: Where = "output"
    num_heads: int | None = None
    num_groups: int = 16

    @torch.no_grad()
    def compute(self, subject: Subject) -> Iterator[Row]:
        """Yield the gap and one row per site or head."""
        model, batches = subject.model, subject.batches_of(self.data)
        clean = torch.cat([self._effect(model, batch[0], batch) for batch in batches])
        corrupted = torch.cat([self._effect(model, batch[1], batch) for batch in batches])
        gap = clean - corrupted  # (pair,)
        groups = groups_of(torch.arange(len(gap)), self.num_groups)
        gap_se = jackknife_se(lambda kept: float(gap[kept].mean()), groups)
        yield Row(f"{self.name}/gap", float(gap.mean()), gap_se, attrs={"num_pairs": len(gap)})
        for place in places(model, self.sites, self.where, self.num_heads):
            parts = [self._patched(model, place, batch) for batch in batches]
            gain = torch.cat(parts) - corrupted  # (pair,)
            yield self._row(place, gain, gap, gap_se, groups)

    def _patched(self, model: nn.Module, place: Place, batch: Any) -> torch.Tensor:
        own = activation_at(place, lambda: self._effect(model, batch[0], batch))
        with changed(place, _put(place, own)) as reached:
            effect = self._effect(model, batch[1], batch)
        require_reached(place, reached)
        return effect

    def _row(
        self,
        place: Place,
        gain: torch.Tensor,
        gap: torch.Tensor,
        gap_se: float,
        groups: torch.Tensor,
    ) -> Row:
        whole = float(gap.mean())
        if whole == 0:
            error = {"error": "clean and corrupted inputs have exactly the same effect"}
            return Row(self.name, math.nan, math.nan, place.site, Status.FAILED, error)
        value = float(gain.mean()) / whole
        se = jackknife_se(lambda kept: float(gain[kept].mean() / gap[kept].mean()), groups)
        if not abs(whole) > 2 * gap_se:
            reason = f"the gap {whole:.3g} is within two of its standard errors ({gap_se:.2g}) of 0"
            return Row(self.name, value, se, place.site, Status.SUSPECT, {"reasons": [reason]})
        return Row(self.name, value, se, place.site)

    def _effect(self, model: nn.Module, inputs: Any, batch: Any) -> torch.Tensor:
        values = self.effect(model, inputs, batch)
        count = len(batch[0])
        if not isinstance(values, torch.Tensor) or values.shape != (count,):
            shape = tuple(values.shape) if isinstance(values, torch.Tensor) else type(values)
            raise MetricError(
                f"effect returned {shape} for {count} pairs: must be a tensor with one number for "
                f"each. Return e.g. logits[:, right] - logits[:, wrong]."
            )
        return values.cpu().double()


def _put(place: Place, own: torch.Tensor) -> Change:
    def change(now: torch.Tensor) -> torch.Tensor:
        if now.shape != own.shape:
            raise MetricError(
                f"site {place.site!r}: clean activations of shape {tuple(own.shape)} do not fit "
                f"the corrupted ones of shape {tuple(now.shape)}. Make both inputs of one shape."
            )
        return own

    return change
