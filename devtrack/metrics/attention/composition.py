"""How far the attention heads of one layer read what heads of an earlier layer wrote."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import nn

from devtrack.errors import MetricError
from devtrack.metrics.metric import MetricOptions, Subject
from devtrack.records import Row, Status

Kind = Literal["q", "k", "v"]


class HeadWeights(NamedTuple):
    """The weights of the heads of one layer; activations are columns, x ↦ Wx.

    Attributes:
        site: Path of the module that attends.
        w_q, w_k, w_v: (head, head width, model width).
        w_o: (head, model width, head width).
    """

    site: str
    w_q: torch.Tensor
    w_k: torch.Tensor
    w_v: torch.Tensor
    w_o: torch.Tensor


def known_weights(model: nn.Module) -> list[HeadWeights]:
    """Return the heads of every module whose weights are known.

    Known are ``nn.MultiheadAttention`` with q, k and v of one width, and TransformerLens'
    attention. The latter has W_Q, W_K, W_V (head, model width, head width) and W_O (head, head
    width, model width).

    Raises:
        MetricError: If there is none.
    """
    found = []
    for path, module in model.named_modules():
        if isinstance(module, nn.MultiheadAttention) and module.in_proj_weight is not None:
            q, k, v = module.in_proj_weight.detach().unflatten(0, (3, module.num_heads, -1))
            w_o = module.out_proj.weight.detach().unflatten(1, (module.num_heads, -1))
            found.append(HeadWeights(path or "model", q, k, v, w_o.movedim(1, 0)))
        elif all(_is_per_head(getattr(module, f"W_{letter}", None)) for letter in "QKVO"):
            each = (getattr(module, f"W_{letter}").detach().mT for letter in "QKVO")
            found.append(HeadWeights(path or "model", *each))
    if not found:
        raise MetricError(
            f"{type(model).__name__} holds no nn.MultiheadAttention and no W_Q, W_K, W_V, W_O of "
            f"heads: its heads' weights are unknown. Pass head_weights=, a "
            f"function from the model to a list of HeadWeights."
        )
    return found


def _is_per_head(weights: Any) -> bool:
    return isinstance(weights, torch.Tensor) and weights.ndim == 3


def composition(later: HeadWeights, earlier: HeadWeights, kind: Kind) -> torch.Tensor:
    """Return the composition scores of all pairs of heads, (later head, earlier head).

    The score is ‖A B‖_F / (‖A‖_F ‖B‖_F), between 0 and 1. B is W_OV of the earlier head. A is W_QKᵀ
    (``q``), W_QK (``k``) or W_OV (``v``) of the later one. Here W_QK = W_Qᵀ W_K and W_OV = W_O W_V.
    It is computed from products no larger than (head width, head width).

    Source:
        Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits".
    """
    left, right = {
        "q": (later.w_k.mT, later.w_q),
        "k": (later.w_q.mT, later.w_k),
        "v": (later.w_o, later.w_v),
    }[kind]  # A = left right, B = w_o w_v
    left, right, w_o, w_v = (x.double().cpu() for x in (left, right, earlier.w_o, earlier.w_v))
    middle = right[:, None] @ w_o[None]  # (later head, earlier head, head width, head width)
    both = _norm_of_product(left[:, None], middle, w_v[None])
    own = _norm_of_product(left, torch.eye(left.shape[-1], dtype=left.dtype), right)
    other = _norm_of_product(w_o, torch.eye(w_o.shape[-1], dtype=w_o.dtype), w_v)
    return both / (own[:, None] * other[None])


@dataclass(frozen=True, kw_only=True)
class HeadComposition(MetricOptions):
    """The strongest Q-, K- and V-composition of each head with a head of an earlier layer.

    Rows are ``<name>/q``, ``<name>/k`` and ``<name>/v`` at ``<module>.head.<h>``. The key
    ``earlier`` of ``attrs`` names the earlier head. The key ``chance`` is 1/√(model width), the
    root mean square of the score for randomly rotated matrices of the same spectra. The strongest
    of
    many is above it by chance. Read off the weights, hence without standard errors. Layer
    norms between the heads are not folded in; fold them in ``head_weights`` where they matter.

    Args:
        head_weights: Maps the model to its layers' ``HeadWeights``, first layer first; by default
            those of its ``nn.MultiheadAttention`` modules, or of TransformerLens' attention.
        name: Prefix of the rows.

    Source:
        See ``composition``.
    """

    head_weights: Callable[[nn.Module], Sequence[HeadWeights]] = known_weights
    name: str = "composition"

    def compute(self, subject: Subject) -> Iterator[Row]:
        """Yield three rows for each head that has an earlier layer."""
        layers = self.head_weights(subject.model)
        for index, later in enumerate(layers):
            earlier = layers[:index]
            names = [f"{one.site}.head.{h}" for one in earlier for h in range(len(one.w_o))]
            kinds: tuple[Kind, ...] = ("q", "k", "v") if earlier else ()
            for kind in kinds:
                scores = torch.cat([composition(later, one, kind) for one in earlier], dim=1)
                for head, own in enumerate(scores):
                    yield self._row(kind, f"{later.site}.head.{head}", own, names, later)

    def _row(
        self, kind: Kind, site: str, scores: torch.Tensor, names: list[str], later: HeadWeights
    ) -> Row:
        metric = f"{self.name}/{kind}"
        if not scores.isfinite().all():
            attrs: dict[str, Any] = {"error": "the weights of a head are zero or not finite"}
            return Row(metric, math.nan, site=site, status=Status.FAILED, attrs=attrs)
        best = int(scores.argmax())
        attrs = {"earlier": names[best], "chance": later.w_v.shape[-1] ** -0.5}
        return Row(metric, float(scores[best]), site=site, attrs=attrs)


def _norm_of_product(left: torch.Tensor, middle: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Return ‖left middle right‖_F over the leading dimensions, without the large product.

    ‖L M R‖² = tr(Mᵀ (Lᵀ L) M (R Rᵀ)).
    """
    inner = (left.mT @ left) @ middle @ (right @ right.mT)
    return (middle * inner).sum((-2, -1)).clamp(min=0).sqrt()
