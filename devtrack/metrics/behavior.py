"""Named capabilities: how many examples of a file the model answers as expected."""

from __future__ import annotations

import hashlib
import json
import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from devtrack.errors import ConfigError, MetricError
from devtrack.metrics._proportions import binomial_se
from devtrack.metrics.metric import MetricOptions, Subject
from devtrack.records import Row


class Example(NamedTuple):
    """One line of the file.

    Attributes:
        input: A prompt, or whatever ``score_fn`` makes of it.
        expected: What the model should answer.
        group: The capability that it tests.
    """

    input: Any
    expected: Any
    group: str


ScoreFunction = Callable[[nn.Module, Sequence[Example]], Any]
"""Maps (model, examples) to a verdict per example: booleans, or scores from 0 to 1."""


@dataclass(frozen=True)
class BehaviorSuite(MetricOptions):
    """Accuracy on a suite of examples, for each group and over all.

    The file has one JSON object a line: ``{"input": "2 + 2 =", "expected": " 4", "group":
    "addition"}``; ``group`` is optional, other keys are ignored. It is read once, when the metric
    is made; its hash is stored with the run, so that a suite cannot change unseen.

    Rows: ``<name>/<group>`` for each group, ``<name>/all``. The error is binomial for yes-or-no
    verdicts, else that of the mean; it says how well the examples stand for their kind.

    Args:
        path: The JSON-lines file.
        score_fn: Encodes the inputs, runs the model on its device and compares with what is
            expected. The model is in eval mode; gradients are off.
        name: Prefix of the rows.
        batch_size: Examples per call of ``score_fn``.

    Raises:
        ConfigError: If the file cannot be read, or a line lacks a key; names the line.

    Example:
        ::

            def judge(model, examples):
                tokens = torch.stack([encode(e.input) for e in examples]).to(model.device)
                answers = model(tokens)[:, -1].argmax(-1)
                return answers.cpu() == torch.tensor([vocabulary[e.expected] for e in examples])

            BehaviorSuite("capabilities.jsonl", judge)
    """

    path: str | Path
    score_fn: ScoreFunction
    name: str = "behavior"
    batch_size: int = 64
    sha256: str = field(init=False, default="")

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ConfigError(f"batch_size={self.batch_size}: must be at least 1. Use 64.")
        examples, digest = _read(Path(self.path))
        object.__setattr__(self, "_examples", examples)  # no field: the run's record holds the hash
        object.__setattr__(self, "sha256", digest)
        object.__setattr__(self, "path", str(self.path))

    @property
    def examples(self) -> tuple[Example, ...]:
        """What the file held."""
        return self.__dict__["_examples"]

    def compute(self, subject: Subject) -> Iterator[Row]:
        """Yield a row per group, and one over all if there are several."""
        verdicts: list[float] = []
        with torch.no_grad():
            for start in range(0, len(self.examples), self.batch_size):
                part = self.examples[start : start + self.batch_size]
                verdicts += self._verdicts(subject.model, part)
        groups: dict[str, list[float]] = {}
        for example, verdict in zip(self.examples, verdicts, strict=True):
            groups.setdefault(example.group, []).append(verdict)
        for group, own in groups.items():
            yield _accuracy(f"{self.name}/{group}", own)
        if "all" not in groups:
            yield _accuracy(f"{self.name}/all", verdicts)

    def _verdicts(self, model: nn.Module, examples: Sequence[Example]) -> list[float]:
        found = torch.as_tensor(self.score_fn(model, examples), dtype=torch.float64).reshape(-1)
        if len(found) != len(examples) or not ((found >= 0) & (found <= 1)).all():
            raise MetricError(
                f"judge returned {found.tolist()[:5]} for {len(examples)} examples: must be one "
                f"boolean, or number from 0 to 1, for each. Return a list or tensor of that length."
            )
        return found.tolist()


def _accuracy(metric: str, verdicts: Sequence[float]) -> Row:
    count, mean = len(verdicts), statistics.fmean(verdicts)
    if all(verdict in (0.0, 1.0) for verdict in verdicts):
        se = binomial_se(mean, count)
    else:
        se = statistics.stdev(verdicts) / math.sqrt(count) if count > 1 else math.nan
    return Row(metric, mean, se, attrs={"num_examples": count})


def _read(path: Path) -> tuple[tuple[Example, ...], str]:
    try:
        data = path.read_bytes()
        lines = data.decode().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path}: cannot be read ({error}). Pass the path of a UTF-8 JSON-lines file."
        ) from error
    found = [_example(path, number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not found:
        raise ConfigError(f"{path}: holds no example. {_FORMAT}")
    return tuple(found), hashlib.sha256(data).hexdigest()


_FORMAT = 'Write lines such as {"input": "2 + 2 =", "expected": " 4", "group": "addition"}.'


def _example(path: Path, number: int, line: str) -> Example:
    try:
        entry = json.loads(line)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path}, line {number}: is not JSON ({error}). {_FORMAT}") from error
    if not isinstance(entry, dict) or not {"input", "expected"} <= entry.keys():
        raise ConfigError(
            f"{path}, line {number}: must be an object with 'input' and 'expected'. {_FORMAT}"
        )
    return Example(entry["input"], entry["expected"], str(entry.get("group", "all")))
