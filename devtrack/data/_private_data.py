"""A copy of the user's own data to read from, so that reading leaves no trace in the original.

A data set may draw from a generator of its own, or open its file at first use. Reading it early
advances the generator, or opens the file in the wrong process.
"""

from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset

from devtrack.model_state._object_graph import parts, walk


class DataWarning(UserWarning):
    """Data could not be read without a trace."""


LARGE_TABLE = (
    10_000  # items from which a container is taken for data, which reading does not change
)


def private_data(data: Any) -> Any:
    """Return a copy of data sets, collators and samplers that shares only the data themselves.

    Tensors, arrays and large containers are shared. Where a copy cannot be made, the original is
    returned, and a ``DataWarning`` says so.

    Args:
        data: A data set, or a tuple of what belongs together.
    """
    try:
        return _copy(data)
    except Exception as error:  # noqa: BLE001 - any attribute of the user's may refuse, in any way
        first = data[0] if isinstance(data, tuple) else data
        warnings.warn(
            f"data of type {type(first).__name__} cannot be copied ({type(error).__name__}: "
            f"{error}): devtrack reads the original once, which moves generators and opens files "
            f"that it holds. Pass data= as a list of batches to be sure.",
            DataWarning,
            stacklevel=2,
        )
        return data


def can_be_copied(loader: Any) -> bool:
    """Say whether a loader has indexed samples, and a data set and collator that can be copied."""
    if not isinstance(loader, DataLoader) or isinstance(loader.dataset, IterableDataset):
        return False
    try:
        _copy((loader.dataset, loader.collate_fn))
    except Exception:  # noqa: BLE001 - as above
        return False
    return True


def _copy(data: Any) -> Any:
    if _is_table(data):
        return data
    held = (part for _, one in walk(data, skip=_is_table) for _, part in parts(one))
    memo: dict[int, Any] = {id(part): part for part in held if _is_table(part)}
    return copy.deepcopy(data, memo)


def _is_table(one: Any) -> bool:
    if isinstance(one, torch.Tensor | np.ndarray):
        return True
    return isinstance(one, list | tuple | dict | set) and len(one) > LARGE_TABLE
