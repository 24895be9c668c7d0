"""Losses of single sequences along chains around a language model's weights, drawn by devinterp.

``devinterp.slt`` is the field's own code for susceptibilities and influence functions. It is run on
a private copy of the model, that cannot be put into training mode, in a folder that is deleted, and
what it does to random streams is undone.
"""

from __future__ import annotations

import copy
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.utils.data import Dataset

from devtrack.errors import DataError, MetricError
from devtrack.model_state.isolation import isolated
from devtrack.sampling._objective import Parts
from devtrack.sampling.config import SamplerConfig

TokenLosses = Callable[[nn.Module, torch.Tensor], torch.Tensor]
"""Maps (model, tokens (sample, position)) to losses of the next token, (sample, position − 1)."""

Losses = npt.NDArray[np.float64]


class SequenceLosses(NamedTuple):
    """Mean loss of each observed sequence, where the chains stand and at w*.

    Shapes:
        draws: (chain, draw, sequence), burn-in left out; NaN from where a chain failed.
        baseline: (sequence,).
    """

    draws: Losses
    baseline: Losses


def draw_losses(
    model: nn.Module,
    losses: TokenLosses,
    tokens: torch.Tensor,
    observed: torch.Tensor,
    *,
    config: SamplerConfig,
    batch_size: int,
    generator: torch.Generator,
    parts: Parts | None = None,
) -> SequenceLosses:
    """Sample on ``tokens`` and watch the loss of every sequence in ``observed``.

    Baselines are taken on the observed sequences themselves, not on minibatches of others, as
    devinterp's are. Every chain draws its own minibatches.

    Args:
        model: In eval mode; not touched.
        losses: Losses of single tokens.
        tokens: What the chains learn from, (sample, position).
        observed: Of the same length, (sequence, position).
        config: ``sgld`` only.
        batch_size: Sequences of a step.
        generator: Chooses the seed.
        parts: Sample these weights only; all that require grad if None.

    Raises:
        MetricError: If what devinterp.slt needs is not installed.
        DataError: If there are fewer sequences than ``batch_size``.
    """
    sampling, sampler, observables = _import_devinterp()
    if len(tokens) < batch_size:
        raise DataError(
            f"{len(tokens)} sequences with batch_size={batch_size}: at least one batch is needed. "
            f"Pass data= with more sequences, or batch_size={len(tokens)}."
        )
    if parts is None:
        parts = {name: None for name, p in model.named_parameters() if p.requires_grad}
    twin = copy.deepcopy(model).eval()
    object.__setattr__(twin, "train", lambda mode=True: twin)  # devinterp would switch dropout on
    padding = -len(observed) % batch_size
    padded = torch.cat([observed, observed[:1].expand(padding, -1)])
    seed = int(torch.randint(2**31, (), generator=generator, device=generator.device))
    with isolated(), tempfile.TemporaryDirectory() as folder, _quiet(sampler):
        with torch.no_grad():
            baseline = [losses(twin, part).mean(1) for part in observed.split(batch_size)]
        tree = sampling.sample(
            twin,
            _Sequences(tokens),
            {"all": (_Sequences(padded), len(padded) // batch_size)},
            lr=config.lr,
            n_beta=config.n_beta_for(batch_size),
            localization=config.localization,
            param_masks=dict(parts),
            num_chains=config.num_chains,
            num_draws=config.num_draws,
            num_burnin_steps=config.num_burnin_steps,
            num_steps_bw_draws=config.num_steps_bw_draws,
            batch_size=batch_size,
            num_init_loss_batches=1,  # unused: see the baselines above
            init_seed=seed,
            obs_seed=0,
            match_sampling_input_ids_across_chains=False,
            device=str(tokens.device),
            output_path=Path(folder) / "samples.zarr",  # new, so that nothing cached is read
            loss_fn=losses,
        )
        by_token = tree["loss_all"].values  # (chain, draw, sequence, token)
        tree.close()
    order = observables.DeterministicShuffledSampler(padded, len(padded), seed=0).indices
    draws = np.empty(by_token.shape[:3])
    draws[..., order] = by_token.mean(3, dtype=np.float64)
    flat = torch.cat(baseline).double().cpu().numpy()
    return SequenceLosses(draws[..., : len(observed)], flat)


class _Sequences(Dataset[dict[str, torch.Tensor]]):
    """What devinterp reads from a Hugging Face data set, without its cache and its slow rows."""

    def __init__(self, tokens: torch.Tensor) -> None:
        self._tokens = tokens.cpu()

    def __len__(self) -> int:
        return len(self._tokens)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self._tokens[index]}


def _import_devinterp() -> tuple[Any, Any, Any]:
    try:
        from devinterp.slt import observables, sampler, sampling
    except ImportError as error:
        raise MetricError(
            f"devinterp.slt cannot be imported ({error}): it needs transformers, datasets, zarr "
            f"and xarray. Run `pip install devinterp`, which brings them."
        ) from error
    return sampling, sampler, observables


@contextmanager
def _quiet(sampler: Any) -> Iterator[None]:
    """Keep devinterp's progress bars and warnings off the terminal; failed chains show as NaN.

    Nor does it collect the whole process's garbage twice a chain, which takes a second each time
    where transformers is loaded: the copies that it makes are freed without.
    """
    kept = sampler.trange, sampler._gc_and_empty_cache
    sampler.trange = lambda start, stop, **_: nullcontext(range(start, stop))
    sampler._gc_and_empty_cache = lambda: None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        sampler.trange, sampler._gc_and_empty_cache = kept


def num_sampled(model: nn.Module, parts: Mapping[str, torch.Tensor | None] | None) -> int:
    """Return how many weights ``draw_losses`` moves."""
    chosen: Sequence[tuple[nn.Parameter, torch.Tensor | None]] = [
        (parameter, parts[name] if parts else None)
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and (parts is None or name in parts)
    ]
    return sum(p.numel() if mask is None else int(mask.sum()) for p, mask in chosen)
