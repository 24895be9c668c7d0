"""A wrong value for any field is refused where it is written: one line, in three parts."""

import dataclasses
import inspect
import json

import pytest
import torch

import devtrack
from devtrack import metrics, monitoring, schedules
from devtrack.errors import ConfigError
from devtrack.sampling import SamplerConfig


class Wrong:
    """A value that no field can have."""

    def __repr__(self):
        return "Wrong()"


def function(*args):
    return 0.0


DATA = [torch.zeros(4, 2)]
REQUIRED = {
    "AnomalyRate": {"sites": "*", "trusted_data": DATA},
    "Ablation": {"sites": "*"},
    "ActivationPatching": {"sites": "*", "effect": function, "data": DATA},
    "BayesianInfluence": {"query_data": {"a": DATA}},
    "CKA": {"sites": "*"},
    "ConceptDirection": {"site": "a", "labels": function, "name": "c"},
    "Dimensionality": {"sites": "*"},
    "FunctionMetric": {"name": "f", "function": function},
    "LinearProbe": {"site": "a", "labels": function, "name": "p"},
    "RegressionProbe": {"site": "a", "labels": function, "name": "p"},
    "Susceptibility": {"sites": "*", "perturbation_data": {"a": DATA}},
    "UnitActivity": {"sites": "*"},
    "Call": {"function": function},
    "Invariant": {"rule": "loss < 1"},
    "Every": {"n": 10},
    "At": {"at": (1, 2)},
    "Union": {"schedules": (schedules.every(10),)},
}
CLASSES = [
    kind
    for room in (metrics, monitoring, schedules)
    for kind in vars(room).values()
    if inspect.isclass(kind)
    and dataclasses.is_dataclass(kind)
    and kind.__module__.startswith("devtrack.")
    and kind.__name__ not in ("MetricOptions", "Subject", "HeadWeights")
] + [SamplerConfig]
FIELDS = [
    (kind, field.name) for kind in CLASSES for field in dataclasses.fields(kind) if field.init
]


def build(kind, tmp_path, changes=()):
    given = dict(REQUIRED.get(kind.__name__, {}))
    if kind is metrics.BehaviorSuite:
        path = tmp_path / "suite.jsonl"
        path.write_text(json.dumps({"input": "a", "expected": "b", "group": "g"}))
        given = {"path": path, "score_fn": function}
    return kind(**{**given, **dict(changes)})


def is_in_three_parts(text, name):
    """Say whether a message is one line: what was given, what is allowed, what to do next."""
    next_steps = ("Use ", "Pass ", "Write ", "Wrap ", "Write for")
    return (
        "\n" not in text
        and name in text
        and any(word in text for word in ("must", "at least", "known", "last snapshot"))
        and any(step in text for step in next_steps)
    )


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_each_class_can_be_built(kind, tmp_path):
    built = build(kind, tmp_path)
    given = REQUIRED.get(kind.__name__, {})
    assert {name: getattr(built, name) for name in given} == given


@pytest.mark.parametrize(
    ("kind", "field"), FIELDS, ids=[f"{kind.__name__}.{name}" for kind, name in FIELDS]
)
def test_a_wrong_value_of_any_field_is_refused(kind, field, tmp_path):
    with pytest.raises(ConfigError) as refused:
        build(kind, tmp_path, {field: Wrong()})
    text = str(refused.value)
    assert is_in_three_parts(text, "Invariant" if field == "rule" else field), text


TRACKER = [name for name in inspect.signature(devtrack.Tracker).parameters if name not in ("self",)]


@pytest.mark.parametrize("argument", TRACKER)
def test_a_wrong_argument_of_the_tracker_is_refused(argument):
    with pytest.raises(ConfigError) as refused:
        devtrack.Tracker(**{argument: Wrong()})
    assert is_in_three_parts(str(refused.value), argument), str(refused.value)


@pytest.mark.parametrize(
    ("make", "part"),
    [
        (lambda: devtrack.Dimensionality(sites=3), "sites=3: must be a glob"),
        (lambda: devtrack.Ablation(sites=3), "sites=3: must be a glob"),
        (lambda: devtrack.FunctionMetric("f", "not a function"), "must be a function"),
        (lambda: devtrack.Tracker(max_overhead=5), "max_overhead=5: must be"),
        (lambda: devtrack.Loss(num_groups=0), "num_groups"),
        (lambda: devtrack.UnitActivity(sites="*", dormant_below=-1), "dormant_below=-1: must be"),
        (lambda: devtrack.NGramScores(orders=2), "orders=2: must be a list of integers"),
        (lambda: devtrack.Monitor(actions="stop"), "actions='stop': must be a list of actions"),
    ],
)
def test_mistakes_that_were_seen(make, part):
    with pytest.raises((ConfigError, TypeError), match=part.replace("(", r"\(")):
        make()
