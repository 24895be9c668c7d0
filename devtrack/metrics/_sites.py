"""Sites: module paths with globs, and the activations taken there."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

from devtrack.errors import ConfigError, MetricError


def globs_of(sites: str | Sequence[str]) -> tuple[str, ...]:
    """Return a metric's ``sites`` as globs; a single one may come as a string.

    Example:
        >>> globs_of("encoder.*"), globs_of(["encoder.0", "head"])
        (('encoder.*',), ('encoder.0', 'head'))
    """
    return (sites,) if isinstance(sites, str) else tuple(sites)


def require_sites(sites: Any) -> None:
    """Refuse what are no globs.

    Raises:
        ConfigError: If it is neither a text nor a sequence of texts.
    """
    if not isinstance(sites, Sequence) or not all(isinstance(glob, str) for glob in sites):
        raise ConfigError(
            f"sites={sites!r}: must be a glob of module paths, or a list of them. "
            "Use sites='blocks.*.attn'."
        )


def matching_modules(model: nn.Module, sites: str | Sequence[str]) -> list[tuple[str, nn.Module]]:
    """Return the modules whose path matches one of the globs ``sites``, in the model's order.

    Raises:
        MetricError: If a glob matches nothing; names the nearest paths.
    """
    globs = globs_of(sites)
    modules = {path: module for path, module in model.named_modules() if path}
    for glob in globs:
        if not any(fnmatchcase(path, glob) for path in modules):
            near = difflib.get_close_matches(glob, modules, n=3, cutoff=0.3) or list(modules)[:3]
            raise MetricError(
                f"site {glob!r}: no module has this path. Near ones: {', '.join(near)}. "
                f"`model.named_modules()` lists all {len(modules)}."
            )
    return [
        (path, module)
        for path, module in modules.items()
        if any(fnmatchcase(path, glob) for glob in globs)
    ]


@contextmanager
def captured(model: nn.Module, sites: str | Sequence[str]) -> Iterator[dict[str, torch.Tensor]]:
    """Collect the outputs of the matching modules during the block; a second call overwrites.

    Yields:
        Site to output, detached; the first tensor of an output that is a tuple. Filled by the
        forward passes in the block.
    """
    outputs: dict[str, torch.Tensor] = {}

    def keep(site: str):
        def hook(module: nn.Module, args: object, output: object) -> None:
            first = output[0] if isinstance(output, tuple | list) else output
            if isinstance(first, torch.Tensor):
                outputs[site] = first.detach()

        return hook

    with ExitStack() as stack:
        for site, module in matching_modules(model, sites):
            stack.callback(module.register_forward_hook(keep(site)).remove)
        yield outputs
