"""Parameters that have several names, or share their memory: a sampler moves each memory once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import torch
from torch import nn

from devtrack.errors import MetricError


def other_names(module: nn.Module, names: Sequence[str]) -> dict[str, str]:
    """Return the other names of tied parameters and buffers: other name to the name among these.

    A module that is there twice has its tensors once, under one name.
    """
    named_tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    named = {_memory(named_tensors[name]): name for name in names}
    owners, others = {_owner(module, name) for name in names}, {}
    for name, tensor in [
        *module.named_parameters(remove_duplicate=False),
        *module.named_buffers(remove_duplicate=False),
    ]:
        key = _memory(tensor)
        if key in named and (owner := _owner(module, name)) not in owners:
            owners.add(owner)
            others[name] = named[key]
    return others


def each_memory_once(parameters: dict[str, nn.Parameter]) -> dict[str, nn.Parameter]:
    """Leave out parameters that are the same memory as one before: they are tied to it.

    Raises:
        MetricError: If two share a part of their memory only.
    """
    once: dict[object, str] = {}
    for name, parameter in parameters.items():
        once.setdefault(_memory(parameter), name)
    storages: dict[int, list[str]] = {}
    for name in once.values():
        one = parameters[name]
        if one.layout is torch.strided and one.numel():
            storages.setdefault(one.untyped_storage().data_ptr(), []).append(name)
    for names in storages.values():
        for left, right in combinations(names, 2):
            if _overlap(parameters[left], parameters[right]):
                own = " and ".join(repr(name.removeprefix("model.")) for name in (left, right))
                raise MetricError(
                    f"parameters {own} share a part of their memory: a sampler would move it "
                    f"twice. Compute one of them from the other in forward()."
                )
    return {name: parameters[name] for name in once.values()}


def _overlap(left: torch.Tensor, right: torch.Tensor) -> bool:
    """Say whether two views of one storage have an element in common."""
    size = left.untyped_storage().nbytes() // left.element_size()
    taken = torch.zeros(size, dtype=torch.bool)
    taken.as_strided(left.size(), left.stride(), left.storage_offset()).fill_(True)
    return bool(taken.as_strided(right.size(), right.stride(), right.storage_offset()).any())


def _memory(tensor: torch.Tensor) -> object:
    """Return what is equal for tensors that are the same memory seen the same way."""
    if tensor.layout is not torch.strided or not tensor.numel() or not tensor.data_ptr():
        return id(tensor)
    return tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride()


def _owner(module: nn.Module, name: str) -> tuple[int, str]:
    path, _, attribute = name.rpartition(".")
    return id(module.get_submodule(path)), attribute
