"""The sampling loss as a function of flat weights, for one chain or for all chains at once."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.func import functional_call, vmap
from torch.utils import _pytree as pytree

from devtrack.data._stacking import stack
from devtrack.errors import DataError, MetricError
from devtrack.model_state.isolation import seed_streams
from devtrack.sampling._tied_parameters import each_memory_once, other_names
from devtrack.sampling._user_loss import LossFunction, call_loss
from devtrack.sampling.config import Precision

Point = dict[str, torch.Tensor]
"""Parameter name to its value at one point, or at one per chain."""

Parts = Mapping[str, torch.Tensor | None]
"""Parameter name to a mask of its shape: what is sampled of it; None: all of it."""


class ParameterSlice(NamedTuple):
    """Where one parameter lies in the flat weights.

    A complex weight is two real ones there, its real and its imaginary part.

    Attributes:
        name, start, stop, shape, dtype: As they say; the shape and dtype of the real numbers.
        is_complex: Whether the parameter is complex: its last dimension of two is made one again.
        indices: Which of its elements are sampled, (stop − start,); None: all.
        fixed: The parameter at w*, flat; the elements that are not sampled stay so.
    """

    name: str
    start: int
    stop: int
    shape: torch.Size
    dtype: torch.dtype
    is_complex: bool
    indices: torch.Tensor | None
    fixed: torch.Tensor


class _LossModule(nn.Module):
    """Gives ``functional_call`` a module whose forward is the loss."""

    def __init__(self, model: nn.Module, loss: LossFunction) -> None:
        super().__init__()
        self.model = model
        self._loss = loss

    def forward(self, batch: Any) -> torch.Tensor:
        value = call_loss(self._loss, self.model, batch)
        value = value.float() if value.dtype in (torch.float16, torch.bfloat16) else value
        return value.mean() if value.ndim else value


class Objective:
    """L(w) on each of the fixed batches, and its gradient.

    The model is never changed: weights are handed in from outside, as slices of flat arrays, and
    buffers are copies. Parameters that do not require grad are held fixed; tied parameters appear
    once. A half-precision model is sampled in single precision and cast on the way in, since the
    noise of one step would be lost in rounding.

    Args:
        model: In eval mode.
        loss: Maps (model, batch) to a scalar or to per-sample losses, which are averaged.
        batches: At least one.
        parts: Sample these weights only and hold the others; all that require grad if None.
        precision: See ``SamplerConfig``.

    Raises:
        DataError: If there is no batch.
        MetricError: If no parameter requires grad, or the loss does not depend on them.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: LossFunction,
        batches: Sequence[Any],
        *,
        parts: Parts | None = None,
        precision: Precision = "full",
    ) -> None:
        if not batches:
            raise DataError(
                "0 batches to sample on: at least 1 is needed. Pass data= to LLC, or give the "
                "tracker data."
            )
        self._module = _LossModule(model, loss)
        self._batches = list(batches)
        self._buffers = {name: b.detach().clone() for name, b in self._module.named_buffers()}
        self._pristine = {name: b.clone() for name, b in self._buffers.items()}
        self._buffer_versions = {name: b._version for name, b in self._buffers.items()}
        parameters = each_memory_once(
            {
                name: parameter
                for name, parameter in self._module.named_parameters()
                if parameter.requires_grad and (parts is None or _own_name(name) in parts)
            }
        )
        if not parameters:
            raise MetricError(
                f"{type(model).__name__} has no parameter that requires grad: the sampler needs at "
                "least one to move. Call requires_grad_(True) on the ones to sample."
            )
        wide = any(p.dtype in (torch.float64, torch.complex128) for p in parameters.values())
        dtype = torch.float64 if wide else torch.float32
        self.slices = list(_slices(parameters, parts or {}))
        self.anchor = torch.cat([_gather(slice_.fixed, slice_).to(dtype) for slice_ in self.slices])
        self._tied = other_names(self._module, [*parameters, *self._buffers])
        fixed = {**parameters, **self._tied}
        rest = {n: p.detach() for n, p in self._module.named_parameters() if n not in fixed}
        aliases = other_names(self._module, list(rest))
        self._rest = rest | {other: rest[name] for other, name in aliases.items()}
        self._differentiates = False
        self._fixes_noise = False
        self.precision: Precision = precision
        self._stacked = stack(self._batches)

    @property
    def num_parameters(self) -> int:
        """Weights that are sampled."""
        return self.anchor.numel()

    @property
    def num_batches(self) -> int:
        """Batches K."""
        return len(self._batches)

    @property
    def can_mix_batches(self) -> bool:
        """Whether chains in one call may look at different batches (they have equal shapes)."""
        return self._stacked is not None

    def fix_noise(self) -> None:
        """Give the loss the same random numbers at every later call on a batch.

        The global streams are seeded at each, by the batch's index alone: only inside ``isolated``,
        and not for chains at once on several batches.
        """
        self._fixes_noise = True

    def loss(self, weights: torch.Tensor, batch: int) -> torch.Tensor:
        """Return L at one point, without gradient.

        Shapes:
            weights: (parameter,).
        """
        one = self._batches[batch]
        self._start_noise(batch)
        return self._without_gradient(
            lambda point, rest: self._call(point | rest, one), self._views(weights)
        )

    def gradient(self, weights: torch.Tensor, batch: int, *, out: torch.Tensor) -> torch.Tensor:
        """Return L at one point and write its gradient into ``out``.

        Shapes:
            weights, out: (parameter,).
        """
        leaves = _leaves(self._views(weights))
        self._start_noise(batch)
        value = self._call(leaves, self._batches[batch])
        self._backward(value, leaves, out)
        return value.detach()

    def saved_bytes(self) -> int:
        """Return what one forward pass at w* keeps for its backward pass, weights left out."""
        sizes: dict[int, int] = {}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            sizes[storage.data_ptr()] = storage.nbytes()
            return tensor

        leaves = _leaves(self._views(self.anchor))
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            self._call(leaves, self._batches[0])
        self._restore_buffers()
        fixed = [
            *leaves.values(),
            *self._module.parameters(),
            *pytree.tree_leaves(self._batches[0]),
        ]
        for tensor in fixed:
            if isinstance(tensor, torch.Tensor):
                sizes.pop(tensor.untyped_storage().data_ptr(), None)
        return sum(sizes.values())

    def losses(self, weights: torch.Tensor, batch: int) -> torch.Tensor:
        """Return L of every chain on one batch, without gradient.

        Shapes:
            weights: (chain, parameter). Returns: (chain,).
        """
        one = self._batches[batch]
        return self._without_gradient(
            lambda points, rest: _vmap(lambda point: self._call(point | rest, one))(points),
            self._views(weights),
        )

    def gradients(
        self, weights: torch.Tensor, batch: torch.Tensor, *, out: torch.Tensor
    ) -> torch.Tensor:
        """Return L of every chain, each on its own batch, and write the gradients into ``out``.

        Only the forward pass runs under vmap; the backward pass is plain autograd on the batched
        result, which saves vmap's overhead there and needs no batching rules of backward kernels.

        Shapes:
            weights, out: (chain, parameter). batch: (chain,) integers. Returns: (chain,).
        """
        leaves = _leaves(self._views(weights))
        if self.num_batches == 1:
            only = self._batches[0]
            values = _vmap(lambda point: self._call(point, only))(leaves)
        else:
            assert self._stacked is not None, "ask can_mix_batches first"
            values = _vmap(self._call_on_leaves)(leaves, self._stacked.take(batch))
        self._backward(values.sum(), leaves, out)
        return values.detach()

    def _start_noise(self, batch: int) -> None:
        if self._fixes_noise:
            seed_streams(zlib.crc32(f"noise of batch {batch}".encode()))

    def _without_gradient(
        self, evaluate: Callable[[Point, Point], torch.Tensor], point: Point
    ) -> torch.Tensor:
        """Evaluate with gradients allowed (see ``allow_gradients``), but with none of weights.

        Neither those that are sampled nor the rest ask for one, so that no graph is kept; unless
        the loss turns out to differentiate by them itself.
        """
        with torch.enable_grad():
            try:
                value = self._evaluate_on(evaluate, point)
            except RuntimeError as error:
                if self._differentiates or "does not require grad" not in str(error):
                    raise
                self._differentiates = True
                value = self._evaluate_on(evaluate, point)
        self._restore_buffers()
        return value.detach()

    def _evaluate_on(
        self, evaluate: Callable[[Point, Point], torch.Tensor], point: Point
    ) -> torch.Tensor:
        return evaluate(_leaves(point), {}) if self._differentiates else evaluate(point, self._rest)

    def _call(self, point: Point, batch: Any) -> torch.Tensor:
        named = {**point, **self._buffers}
        named |= {other: named[name] for other, name in self._tied.items()}
        with self._autocast():  # tied here, once: functional_call searches all modules at each call
            return functional_call(self._module, named, (batch,), tie_weights=False)

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.precision == "full":
            return nullcontext()
        # no cache: it would keep the casts of one call's weights for the next call's
        return torch.autocast(self.anchor.device.type, torch.bfloat16, cache_enabled=False)

    def _call_on_leaves(self, point: Point, tensors: list[torch.Tensor]) -> torch.Tensor:
        assert self._stacked is not None
        return self._call(point, self._stacked.rebuild(tensors))

    def _views(self, weights: torch.Tensor) -> Point:
        lead = weights.shape[:-1]
        return {
            slice_.name: _as_parameter(
                _scatter(weights[..., slice_.start : slice_.stop], slice_).view(
                    (*lead, *slice_.shape)
                ),
                slice_,
            )
            for slice_ in self.slices
        }

    def _backward(self, value: torch.Tensor, leaves: Point, out: torch.Tensor) -> None:
        if not value.requires_grad:
            raise MetricError(
                "the loss does not depend on the model's weights: a sampler needs its gradient. "
                "Compute it from the `model` that is passed in, without detach() or no_grad()."
            )
        gradients = torch.autograd.grad(value, list(leaves.values()), allow_unused=True)
        for slice_, gradient in zip(self.slices, gradients, strict=True):
            part = out[..., slice_.start : slice_.stop]
            if gradient is None:
                part.zero_()
            else:
                flat = _as_real(gradient).reshape(*out.shape[:-1], -1)
                part.copy_(_gather(flat, slice_))
        self._restore_buffers()

    def _restore_buffers(self) -> None:
        """Undo what a forward pass wrote into buffers: L must stay the same function."""
        for name, buffer in self._buffers.items():
            if buffer._version != self._buffer_versions[name]:
                buffer.copy_(self._pristine[name])
                self._buffer_versions[name] = buffer._version


def _slices(parameters: dict[str, nn.Parameter], parts: Parts) -> Iterator[ParameterSlice]:
    start = 0
    for name, parameter in parameters.items():
        mask = parts.get(_own_name(name))
        real = _as_real(parameter.detach())
        fixed = real.reshape(-1)
        if mask is not None and parameter.is_complex():
            mask = torch.stack([mask, mask], dim=-1)
        index = None if mask is None else mask.reshape(-1).nonzero()[:, 0].to(fixed.device)
        stop = start + (fixed.numel() if index is None else index.numel())
        yield ParameterSlice(
            name, start, stop, real.shape, real.dtype, parameter.is_complex(), index, fixed
        )
        start = stop


def _own_name(name: str) -> str:
    """Return a parameter's name in the model, which ``_LossModule`` holds as ``model``."""
    return name.removeprefix("model.")


def _scatter(part: torch.Tensor, slice_: ParameterSlice) -> torch.Tensor:
    """Put the sampled elements of a parameter among those that are held: (..., element)."""
    part = part.to(slice_.dtype)
    if slice_.indices is None:
        return part
    whole = slice_.fixed.expand(*part.shape[:-1], -1).clone()
    whole[..., slice_.indices] = part
    return whole


def _gather(whole: torch.Tensor, slice_: ParameterSlice) -> torch.Tensor:
    """Return the sampled elements of a flat parameter: (..., element)."""
    return whole if slice_.indices is None else whole[..., slice_.indices]


def _as_real(tensor: torch.Tensor) -> torch.Tensor:
    """Return a parameter or gradient as dense real numbers, (…, 2) if it is complex."""
    dense = tensor.to_dense() if tensor.is_sparse else tensor
    return torch.view_as_real(dense.resolve_conj()) if dense.is_complex() else dense


def _as_parameter(real: torch.Tensor, slice_: ParameterSlice) -> torch.Tensor:
    return torch.complex(real[..., 0], real[..., 1]) if slice_.is_complex else real


def _leaves(views: Point) -> Point:
    return {name: view.detach().requires_grad_() for name, view in views.items()}


def _vmap(function: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    return vmap(function, randomness="different")
