"""Components: the weights below a module, or one attention head's slices of them.

A refined LLC moves a component's weights and holds all others (Wang et al. 2024, arXiv:2410.02984).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from devtrack.errors import ConfigError, MetricError
from devtrack.metrics._sites import globs_of, matching_modules

HeadAxes = Mapping[str, tuple[int, int]]
"""End of a parameter's path -> (dimension that holds the heads, number of blocks before the heads).
There are 3 blocks where queries, keys and values lie in one matrix."""

HEAD_AXES: HeadAxes = {
    # torch.nn.MultiheadAttention
    "in_proj_weight": (0, 3),
    "in_proj_bias": (0, 3),
    "out_proj.weight": (1, 1),
    # separate projections, x @ W.T
    **{f"{x}_proj.{kind}": (0, 1) for x in "qkv" for kind in ("weight", "bias")},
    **{f"{x}.{kind}": (0, 1) for x in ("query", "key", "value") for kind in ("weight", "bias")},
    **{f"to_{x}.{kind}": (0, 1) for x in "qkv" for kind in ("weight", "bias")},
    "o_proj.weight": (1, 1),
    # one fused projection, x @ W.T
    "qkv.weight": (0, 3),
    "qkv.bias": (0, 3),
    "qkv_proj.weight": (0, 3),
    "qkv_proj.bias": (0, 3),
    # GPT-2 in transformers: Conv1D, x @ W
    "c_attn.weight": (1, 3),
    "c_attn.bias": (0, 3),
    "attn.c_proj.weight": (0, 1),
    # TransformerLens: the heads have a dimension of their own
    **{f"{kind}_{x}": (0, 1) for kind in "Wb" for x in "QKV"},
    "W_O": (0, 1),
}


class Component(NamedTuple):
    """A part of a model's weights.

    Attributes:
        site: Module path, with ``.head.<h>`` for one head.
        parts: Parameter name to a mask of the parameter's shape; None: the whole parameter.
    """

    site: str
    parts: Mapping[str, torch.Tensor | None]


def find_components(
    model: nn.Module,
    sites: str | Sequence[str],
    *,
    num_heads: int | None = None,
    head_axes: HeadAxes | None = None,
) -> list[Component]:
    """Return the components that the globs name, in the model's order.

    Args:
        model: The model.
        sites: Globs of module paths; all trainable parameters below a module belong to it.
        num_heads: Attention heads of every matched module; each becomes a component of its own,
            made of the slices that belong to it. Parameters without heads (an output bias) are left
            out.
        head_axes: Where the heads lie, for parameters that ``HEAD_AXES`` does not know.

    Raises:
        MetricError: A glob matches nothing; a module has no trainable weights, or with
            ``num_heads`` none whose heads are known; a dimension cannot be divided.
    """
    canonical = _canonical_names(model)
    found = []
    for site, module in matching_modules(model, sites):
        names = [
            canonical[id(parameter)]
            for _, parameter in module.named_parameters()
            if parameter.requires_grad
        ]
        if not names:
            raise MetricError(
                f"site {site!r}: the module has no parameter that requires grad, so there is "
                f"nothing to sample. Choose a module with weights."
            )
        if num_heads is None:
            found.append(Component(site, dict.fromkeys(names)))
        else:
            found += _heads_of(model, site, names, num_heads, {**HEAD_AXES, **(head_axes or {})})
    return found


def require_heads(num_heads: Any, sites: str | Sequence[str], head_axes: Any = None) -> None:
    """Refuse heads that nothing has, and places where no heads can lie.

    Raises:
        ConfigError: ``num_heads`` is no integer of at least 1, or there are no sites; or
            ``head_axes`` has other than pairs of integers.
    """
    axes = head_axes.values() if isinstance(head_axes, Mapping) else [head_axes]
    if head_axes is not None and not all(map(_is_axis, axes)):
        raise ConfigError(
            f"head_axes={head_axes!r}: must map ends of parameters' paths to the dimension that "
            "holds the heads and the blocks before them. Use head_axes={'qkv.weight': (0, 3)}."
        )
    if num_heads is None:
        return
    if not isinstance(num_heads, int) or isinstance(num_heads, bool) or num_heads < 1 or not sites:
        raise ConfigError(
            f"num_heads={num_heads!r} with sites={globs_of(sites)}: must be an integer, at least "
            f"1, of the modules that sites names. Use sites='blocks.*.attn', num_heads=4."
        )


def _is_axis(axis: Any) -> bool:
    pair = isinstance(axis, Sequence) and len(axis) == 2
    return pair and all(isinstance(number, int) for number in axis)


def _heads_of(
    model: nn.Module, site: str, names: Sequence[str], num_heads: int, axes: HeadAxes
) -> list[Component]:
    divided = {name: axis for name in names if (axis := _axis_of(name, axes)) is not None}
    if not divided:
        raise MetricError(
            f"site {site!r} with num_heads={num_heads}: where the heads lie in "
            f"{', '.join(names[:4])} is not known. "
            f"Pass head_axes={{{names[0].rpartition('.')[2]!r}: (dimension, blocks)}}."
        )
    return [
        Component(
            f"{site}.head.{head}",
            {
                name: _head_mask(name, model.get_parameter(name).shape, head, num_heads, *axis)
                for name, axis in divided.items()
            },
        )
        for head in range(num_heads)
    ]


def _axis_of(name: str, axes: HeadAxes) -> tuple[int, int] | None:
    fits = [end for end in axes if name == end or name.endswith(f".{end}")]
    return axes[max(fits, key=len)] if fits else None


def _head_mask(
    name: str, shape: torch.Size, head: int, num_heads: int, dim: int, blocks: int
) -> torch.Tensor:
    size = shape[dim] if dim < len(shape) else 0
    if size == 0 or size % (blocks * num_heads):
        raise MetricError(
            f"parameter {name!r} of shape {tuple(shape)}: dimension {dim} cannot be divided into "
            f"{blocks} block(s) of {num_heads} heads. Give the number of heads of this module, or "
            f"head_axes= if they lie elsewhere."
        )
    along = torch.zeros(blocks, num_heads, size // (blocks * num_heads), dtype=torch.bool)
    along[:, head] = True
    others = [1] * len(shape)
    others[dim] = size
    return along.reshape(others).expand(shape)


def _canonical_names(model: nn.Module) -> dict[int, str]:
    """Return the first name of every parameter: a tied one is known by that alone."""
    return {id(parameter): name for name, parameter in model.named_parameters()}
