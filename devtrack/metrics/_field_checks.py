"""Checks of the fields of metrics: a field of one name has one meaning, and one check.

``MetricOptions`` applies them, so that no metric can forget one.
"""

from __future__ import annotations

import dataclasses
import reprlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from devtrack._checks import (
    require_bool,
    require_choice,
    require_function,
    require_globs,
    require_int,
    require_number,
    require_positive,
    require_text,
)
from devtrack.data._fixed_batches import is_data
from devtrack.errors import ConfigError


def require_data(data: Any, *, name: str = "data") -> None:
    """Raise ConfigError unless ``data`` is None, data, or a dict of data by name."""
    sets = list(data.values()) if is_data_sets(data) else [data]
    if data is not None and not (sets and all(is_data(one) for one in sets)):
        raise ConfigError(
            f"{name}={reprlib.repr(data)}: must be a DataLoader, a Dataset, a tuple or dict of "
            "tensors, a list of batches, or a dict of such data sets by name. "
            f"Pass {name}={{'train': [batch], 'test': [batch]}}."
        )


def is_data_sets(data: Any) -> bool:
    """Say whether it is several data sets by name: a dict without a tensor."""
    return isinstance(data, dict) and not any(isinstance(v, torch.Tensor) for v in data.values())


def require_loss(loss: Any) -> None:
    """Raise ConfigError unless ``loss`` is None or a function of (model, batch).

    A module, such as torch's losses of (prediction, target), is refused.
    """
    if loss is not None and (not callable(loss) or isinstance(loss, nn.Module | type)):
        raise ConfigError(
            f"loss={loss!r}: must be a function of (model, batch) that returns a tensor, or None "
            "for the training's own. Write "
            "loss=lambda model, batch: nn.functional.mse_loss(model(batch[0]), batch[1])."
        )


def _name(name: str, value: Any) -> None:
    require_text(name, value, example="my_metric")


def _at_least(least: int, example: int) -> Callable[[str, Any], None]:
    return partial(require_int, at_least=least, example=example)


def _above_zero(example: float) -> Callable[[str, Any], None]:
    return partial(require_positive, example=example)


def _not_negative(name: str, value: Any) -> None:
    require_number(name, value, lambda x: x >= 0, "0 or more", f"{name}=0.01")


def _rate(name: str, value: Any) -> None:
    require_number(name, value, lambda x: 0 < x < 1, "between 0 and 1", f"{name}=0.05")


def _dimension(name: str, value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ConfigError(f"{name}={value!r}: must be an integer. Use {name}=-1.")


def _function(example: str) -> Callable[[str, Any], None]:
    return partial(require_function, example=example)


def _one_of(*choices: str) -> Callable[[str, Any], None]:
    return partial(require_choice, choices=choices)


def _data(name: str, value: Any) -> None:
    require_data(value, name=name)


def _named_data(name: str, value: Any) -> None:
    if not isinstance(value, Mapping) or not all(is_data(one) for one in value.values()):
        raise ConfigError(
            f"{name}={reprlib.repr(value)}: must be a dict of data sets by name. "
            f'Use {name}={{"code": code_tokens}}.'
        )


def _integers(name: str, value: Any) -> None:
    is_sequence = isinstance(value, Sequence) and not isinstance(value, str | bytes)
    if not is_sequence or not all(
        isinstance(one, int) and not isinstance(one, bool) and one >= 1 for one in value
    ):
        raise ConfigError(
            f"{name}={value!r}: must be a list of integers of at least 1. Use {name}=(1, 2, 3)."
        )


def _bounds(name: str, value: Any) -> None:
    is_pair = isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 2
    if not is_pair or not all(isinstance(end, int | float) for end in value):
        raise ConfigError(f"{name}={value!r}: must be a pair of numbers. Use {name}=(0.0, 1.0).")
    if not value[0] < value[1]:
        raise ConfigError(f"{name}={value!r}: must ascend. Use {name}=(0.0, 1.0).")


def _path(name: str, value: Any) -> None:
    if not isinstance(value, str | Path):
        raise ConfigError(f"{name}={value!r}: must be a file's path. Use {name}='suite.jsonl'.")


FIELD_CHECKS: dict[str, Callable[[str, Any], None]] = {
    "bounds": _bounds,
    "batch_size": _at_least(1, 64),
    "control_group": _function("lambda batch: batch['document']"),
    "data": _data,
    "description_length": require_bool,
    "diagnostics": _one_of("on", "off"),
    "dormant_below": _not_negative,
    "early": _at_least(1, 50),
    "effect": _function("lambda model, batch: model(batch[0])[:, 0]"),
    "every": _at_least(1, 10),
    "false_positive_rate": _rate,
    "forward": _function("lambda model, tokens: model(tokens)"),
    "function": _function("lambda model, batch: model(batch[0]).argmax(-1) == batch[1]"),
    "head_weights": _function("lambda model: [HeadWeights(q, k, v, o)]"),
    "kind": _one_of("zero", "mean", "resample"),
    "labels": _function("lambda batch: batch[1]"),
    "late": _at_least(1, 500),
    "length": _at_least(2, 32),
    "logits": _function("lambda model, tokens: model(tokens)"),
    "loss": lambda name, value: require_loss(value),
    "margin": _not_negative,
    "max_memory_gb": _above_zero(0.5),
    "max_rows": _at_least(8, 2048),
    "name": _name,
    "num_contexts": _at_least(2, 256),
    "num_examples": _at_least(1, 16),
    "num_folds": _at_least(2, 5),
    "num_groups": _at_least(2, 16),
    "num_heads": _at_least(1, 8),
    "num_observed": _at_least(1, 64),
    "num_sequences": _at_least(2, 32),
    "orders": _integers,
    "path": _path,
    "perturbation_data": _named_data,
    "pool": _one_of("mean", "last"),
    "positions": _integers,
    "query_data": _named_data,
    "regularization": _above_zero(1e-3),
    "score_fn": _function("lambda model, examples: [True for _ in examples]"),
    "seed": _at_least(0, 0),
    "site": partial(require_text, example="encoder.block3"),
    "sites": require_globs,
    "target_se": _above_zero(0.5),
    "timeout_s": _above_zero(60.0),
    "tokens": _function("lambda batch: batch['input_ids']"),
    "trusted_data": _data,
    "unit_dim": _dimension,
    "vocabulary": _at_least(2, 50_000),
    "where": _one_of("output", "input"),
}
"""The check of every field, by its name. The sampler's own fields are checked by its settings."""


def check_fields(metric: Any) -> None:
    """Check the fields of a metric by their names.

    None passes where it is the field's default, and so does an empty text or sequence.

    Raises:
        ConfigError: A field has a value that it cannot have; names the metric's class.
    """
    for field in dataclasses.fields(metric):
        value, check = getattr(metric, field.name), FIELD_CHECKS.get(field.name)
        is_default = value is field.default if value is None else False
        is_empty = isinstance(value, str | Sequence) and not value and field.default in ("", ())
        if check is not None and not (is_default or is_empty):
            check(field.name, value)
