"""Attention patterns of any model, caught while it runs.

Seen are, at the module inside which they happen:

- calls of ``scaled_dot_product_attention``, whose pattern is computed again from its arguments;
- calls of ``softmax`` over the last of four dimensions, as attention written by hand and Hugging
  Face's eager mode have them;
- ``torch.nn.MultiheadAttention``, which is asked for the weights of every head;
- modules that return (output, …) with a pattern among the rest, as with ``output_attentions``;
- TransformerLens' ``hook_pattern``, at the module that holds it.

Nothing is patched: torch's function mode sees the calls of this thread, however a model imported
them, and ends with the block. Fused kernels from other libraries (flash-attn, xformers,
flex_attention) show no pattern; choose the ``sdpa`` or ``eager`` implementation there.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from fnmatch import fnmatchcase
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from devtrack.errors import MetricError
from devtrack.metrics._sites import globs_of

_SOFTMAX = {functional.softmax, torch.softmax, torch.Tensor.softmax, torch.special.softmax}


@contextmanager
def attention_patterns(
    model: nn.Module,
    sites: str | Sequence[str] = ("*",),
    *,
    reduce: Callable[[torch.Tensor], Any] = lambda pattern: pattern,
) -> Iterator[dict[str, Any]]:
    """Collect the attention patterns of the matching modules during the block.

    A second forward pass overwrites. Several calls within one module's forward pass are its heads
    in turn. Dropout of the pattern is not part of it.

    Args:
        sites: Globs of paths of the modules that attend; the model itself is called ``model``.
        reduce: Applied to each pattern at once, so that patterns of many layers need not be held.

    Yields:
        Site to ``reduce(pattern)``, with pattern (sample, head, query, key), detached. Filled by
        the forward passes in the block.
    """
    seen: dict[str, Any] = {}
    watch = _Watch(globs_of(sites), seen, reduce)
    with ExitStack() as stack:
        # its fused path would call neither the inner modules nor their hooks
        fastpath = torch.backends.mha.get_fastpath_enabled()
        stack.callback(torch.backends.mha.set_fastpath_enabled, fastpath)
        torch.backends.mha.set_fastpath_enabled(False)
        for path, module in model.named_modules():
            before = module.register_forward_pre_hook(
                watch.enter(path, isinstance(module, nn.MultiheadAttention)), with_kwargs=True
            )
            after = module.register_forward_hook(watch.leave(path), always_call=True)
            stack.callback(before.remove)
            stack.callback(after.remove)
        with watch:
            yield seen


def require_patterns(seen: Mapping[str, Any], sites: str | Sequence[str], model: nn.Module) -> None:
    """Raise MetricError unless each glob of ``sites`` has met a pattern; names the nearest."""
    for glob in globs_of(sites):
        if any(fnmatchcase(site, glob) for site in seen):
            continue
        paths = [path for path, _ in model.named_modules() if path]
        near = difflib.get_close_matches(glob, [*seen, *paths], n=3, cutoff=0.3) or paths[:3]
        raise MetricError(
            f"site {glob!r}: no attention pattern was seen there. Near modules: {', '.join(near)}. "
            f"Seen are scaled_dot_product_attention, softmax over four dimensions, "
            f"nn.MultiheadAttention and modules that return their weights; sites='*' takes all."
        )


class _Frame:
    """One running module."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.called: list[torch.Tensor] = []  # patterns of functions called here
        self.returned: list[torch.Tensor] = []  # patterns that modules returned: they go first
        self.hooked = False  # a hook_pattern gave it: the returned value is the same
        self.wanted: dict[str, bool] | None = None  # what a MultiheadAttention was asked for


class _Watch(TorchFunctionMode):
    """Sees every torch call, and knows which module is running."""

    def __init__(
        self, sites: Sequence[str], seen: dict[str, Any], reduce: Callable[[torch.Tensor], Any]
    ) -> None:
        super().__init__()
        self._sites, self._seen, self._reduce = sites, seen, reduce
        self._running: list[_Frame] = []
        # # patterns seen already, further down; weak, since the id of a freed one is used again
        self._returned: WeakValueDictionary[int, torch.Tensor] = WeakValueDictionary()

    def enter(self, path: str, is_multihead: bool):
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            frame = _Frame(path)
            self._running.append(frame)
            if not is_multihead:
                return None
            args, kwargs, frame.wanted = _ask_for_every_head(args, kwargs)
            return args, kwargs

        return hook

    def leave(self, path: str):
        def hook(module: nn.Module, args: Any, output: Any) -> Any:
            frame = self._running.pop()
            if output is None:  # the forward raised
                return None
            if frame.wanted is not None:
                out, weights = output
                returned = weights.detach()
                frame.returned.append(returned if returned.ndim == 4 else returned.unsqueeze(0))
                output = (out, _as_wanted(weights, frame.wanted))
            elif isinstance(output, tuple | list):
                self._take_returned(frame, output[1:])
            elif path.rpartition(".")[2] == "hook_pattern" and _is_pattern(output):
                if self._running:
                    self._running[-1].returned.append(output.detach())
                    self._running[-1].hooked = True
                return None
            self._keep(frame)
            return output if frame.wanted is not None else None

        return hook

    def _take_returned(self, frame: _Frame, outputs: Sequence[Any]) -> None:
        for output in outputs:
            # outer modules hand on what inner ones returned
            if _is_pattern(output) and self._returned.get(id(output)) is not output:
                self._returned[id(output)] = output
                if not frame.hooked:
                    frame.returned.append(output.detach())

    def _keep(self, frame: _Frame) -> None:
        patterns = frame.returned or frame.called
        site = frame.path or "model"
        if not patterns or not any(fnmatchcase(site, glob) for glob in self._sites):
            return
        if len({pattern.shape[:1] + pattern.shape[2:] for pattern in patterns}) > 1:
            shapes = ", ".join(str(tuple(pattern.shape)) for pattern in patterns)
            raise MetricError(
                f"site {site!r}: several attention patterns in one forward pass, of shapes "
                f"{shapes}. Let each be computed in a module of its own."
            )
        self._seen[site] = self._reduce(torch.cat(patterns, dim=1))

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        if self._running and func is functional.scaled_dot_product_attention:
            self._running[-1].called.append(attention_pattern_of(*args, **kwargs))
        elif self._running and func in _SOFTMAX and output.ndim == 4:
            dim = args[1] if len(args) > 1 else kwargs.get("dim")
            if dim in (-1, 3):
                self._running[-1].called.append(output.detach())
        return output


def attention_pattern_of(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor | None = None,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> torch.Tensor:
    """Return the pattern that ``scaled_dot_product_attention`` applies for these arguments.

    Dropout is left out; a query that may attend to nothing has zeros.

    Returns:
        (sample, head, query, key), float32 at least. Without a head dimension there is one head.

    Source:
        The reference implementation in torch's documentation of the function.
    """
    query, key = query.detach(), key.detach()
    if query.dtype in (torch.float16, torch.bfloat16):
        query, key = query.float(), key.float()
    if enable_gqa:
        key = key.repeat_interleave(query.size(-3) // key.size(-3), -3)
    factor = 1 / math.sqrt(query.size(-1)) if scale is None else scale
    scores = query @ key.transpose(-2, -1) * factor
    if is_causal:
        allowed = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        scores = scores.masked_fill(~allowed, -math.inf)
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, -math.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask.detach()
    pattern = scores.softmax(-1).nan_to_num(0.0)
    if pattern.ndim < 4:
        return pattern.reshape(-1, 1, *pattern.shape[-2:])
    return pattern.flatten(0, -4)


def _is_pattern(output: Any) -> bool:
    """Say whether a module's output is (sample, head, query, key) with rows that sum to 1 or 0."""
    if not isinstance(output, torch.Tensor) or output.ndim != 4 or not output.is_floating_point():
        return False
    totals = output.detach().float().sum(-1)
    near = ((totals - 1).abs() < 0.02) | (totals.abs() < 1e-6)  # 0.02: bfloat16 over many keys
    return bool((output >= 0).all() and near.all() and (totals > 0.5).any())


def _ask_for_every_head(
    args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any], dict[str, bool]]:
    """Return the arguments of a MultiheadAttention changed, and what it was asked for."""
    names = ("query", "key", "value", "key_padding_mask", "need_weights", "attn_mask")
    names += ("average_attn_weights", "is_causal")
    named = dict(zip(names, args)) | kwargs
    wanted = {
        "need_weights": bool(named.get("need_weights", True)),
        "average": bool(named.get("average_attn_weights", True)),
    }
    return (), {**named, "need_weights": True, "average_attn_weights": False}, wanted


def _as_wanted(weights: torch.Tensor, wanted: dict[str, bool]) -> torch.Tensor | None:
    if not wanted["need_weights"]:
        return None
    return weights.mean(-3) if wanted["average"] else weights
