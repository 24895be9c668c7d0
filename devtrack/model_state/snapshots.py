"""Weight snapshots: frozen copies in memory, and safetensors files named by their content.

A file is written under a temporary name, synced and renamed, so that it is there whole or not at
all. Its name is the SHA-256 of its content. Equal weights share one file, and a damaged file is
detected when it is read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from devtrack.errors import SnapshotError
from devtrack.records import SnapshotRecord
from devtrack.store._atomic_files import make_dirs, write_atomically

Tensors = Mapping[str, torch.Tensor]
"""State-dict names to detached tensors that nothing else writes to."""

_ALIASES = "devtrack.aliases"  # metadata key: names that share storage with another (tied weights)


def tensors_of(module: nn.Module) -> dict[str, torch.Tensor]:
    """Return the parameters and persistent buffers of a module, detached, under their names.

    They are the module's own tensors, but for quantised ones, which come as floats. Names are
    those of ``state_dict``, which may be overridden and hand out others. Non-persistent buffers are
    left out, as in any checkpoint.
    """
    tensors: dict[str, torch.Tensor] = {}
    for prefix, part in module.named_modules(remove_duplicate=False):
        lead = f"{prefix}." if prefix else ""
        left_out = part._non_persistent_buffers_set
        held = {k: v for k, v in part._buffers.items() if k not in left_out}
        for name, tensor in (part._parameters | held).items():
            if tensor is not None:
                plain = tensor.detach()
                tensors[lead + name] = plain.dequantize() if plain.is_quantized else plain
    return tensors


def take(module: nn.Module) -> dict[str, torch.Tensor]:
    """Copy the parameters and persistent buffers of a module, on their device.

    Tied weights are copied once and stay tied.
    """
    copies: dict[tuple[object, ...], torch.Tensor] = {}
    tensors: dict[str, torch.Tensor] = {}
    for name, value in tensors_of(module).items():
        key = _storage_key(value)
        if key not in copies:
            copies[key] = value.clone()
        tensors[name] = copies[key]
    return tensors


@torch.no_grad()
def load_into(module: nn.Module, tensors: Tensors) -> None:
    """Copy ``tensors`` into ``module`` in place; its modes and gradients stay as they are.

    Raises:
        SnapshotError: If names or shapes differ from the module's.
    """
    own = tensors_of(module)
    missing, unexpected = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
    if missing or unexpected:
        raise SnapshotError(
            f"snapshot with {len(tensors)} tensors: the module needs {missing[:3] or 'no'} more and"
            f" does not know {unexpected[:3] or 'none'}. Build the module as it was trained."
        )
    for name, target in own.items():
        if target.shape != tensors[name].shape:
            raise SnapshotError(
                f"snapshot tensor {name!r} of shape {tuple(tensors[name].shape)}: the module's has "
                f"shape {tuple(target.shape)}. Build the module with the configuration that was "
                f"trained."
            )
        target.copy_(tensors[name])


def content_hash(tensors: Tensors) -> str:
    """Return the SHA-256 over names, dtypes, shapes and bytes, in hex; order does not matter."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def write(run_dir: Path, tensors: Tensors) -> SnapshotRecord:
    """Write ``tensors`` to ``run_dir/snapshots/<hash>.safetensors``, unless it is there already.

    On return the file is on disk, whole.

    Raises:
        SnapshotError: If the file cannot be written.
    """
    digest = content_hash(tensors)
    path = run_dir / "snapshots" / f"{digest}.safetensors"
    try:
        if not path.exists():
            _write_file(path, tensors)
        size = path.stat().st_size
    except OSError as error:
        raise SnapshotError(
            f"snapshot {path}: cannot be written ({error}). Free space or fix the permissions of "
            f"the store, or pass snapshots=False."
        ) from error
    return SnapshotRecord(digest, path.relative_to(run_dir).as_posix(), size)


def read(path: Path | str, *, verify: bool = True) -> dict[str, torch.Tensor]:
    """Read a snapshot file; tied weights come back tied.

    Args:
        path: A file that ``write`` made.
        verify: Compare the content with the hash in the file's name.

    Raises:
        SnapshotError: If the file is missing, damaged, or not what its name says.
    """
    path = Path(path)
    if not path.exists():
        raise SnapshotError(
            f"snapshot {path}: there is no such file. The view `snapshots` lists those of a run."
        )
    try:
        tensors = safetensors.torch.load_file(path)
        with safe_open(path, framework="pt") as file:
            aliases = json.loads((file.metadata() or {}).get(_ALIASES, "{}"))
    except (SafetensorError, OSError, json.JSONDecodeError) as error:
        raise SnapshotError(
            f"snapshot {path}: damaged ({error}). Delete the file; other snapshots are not touched."
        ) from error
    tensors |= {alias: tensors[name] for alias, name in aliases.items()}
    if verify and content_hash(tensors) != path.stem:
        raise SnapshotError(
            f"snapshot {path}: its content is not what its name says. Delete the file; other "
            f"snapshots are not touched."
        )
    return tensors


def _write_file(path: Path, tensors: Tensors) -> None:
    first_of: dict[tuple[object, ...], str] = {}
    aliases = {}
    for name, tensor in tensors.items():
        first = first_of.setdefault(_storage_key(tensor), name)
        if first != name:
            aliases[name] = first
    payload = {name: t.cpu().contiguous() for name, t in tensors.items() if name not in aliases}
    data = safetensors.torch.save(payload, metadata={_ALIASES: json.dumps(aliases)})
    make_dirs(path.parent)
    write_atomically(path, data)


def _storage_key(tensor: torch.Tensor) -> tuple[object, ...]:
    """Equal for tensors that are the same memory seen the same way."""
    if tensor.numel() == 0:
        return (id(tensor),)  # empty tensors all point nowhere
    return (tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
