"""What an LLC can be given beside numbers: judged before a training has started."""

from __future__ import annotations

import reprlib
from typing import Any

import torch
from torch import nn

from devtrack.data._fixed_batches import is_data
from devtrack.errors import ConfigError


def require_data(data: Any) -> None:
    """Refuse what no batches can be made of.

    Raises:
        ConfigError: If it is neither None, nor data, nor a dict of data by name.
    """
    sets = list(data.values()) if is_data_sets(data) else [data]
    if data is not None and not (sets and all(is_data(one) for one in sets)):
        raise ConfigError(
            f"data={reprlib.repr(data)}: must be a DataLoader, a Dataset, a tuple or dict of "
            "tensors, a list of batches, or a dict of such data sets by name. "
            "Pass data={'train': [batch], 'test': [batch]}, or None for the run's own."
        )


def is_data_sets(data: Any) -> bool:
    """Say whether it is several data sets by name: a dict without a tensor."""
    return isinstance(data, dict) and not any(isinstance(v, torch.Tensor) for v in data.values())


def require_loss(loss: Any) -> None:
    """Refuse losses of (prediction, target), as torch has them, and what cannot be called.

    Raises:
        ConfigError: If it is neither None nor a function.
    """
    if loss is not None and (not callable(loss) or isinstance(loss, nn.Module | type)):
        raise ConfigError(
            f"loss={loss!r}: must be a function of (model, batch) that returns a tensor, or None "
            "for the training's own. Write "
            "loss=lambda model, batch: nn.functional.mse_loss(model(batch[0]), batch[1])."
        )
