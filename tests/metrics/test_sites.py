import dataclasses

import torch
from torch import nn

import devtrack
from devtrack import Dimensionality, Subject
from devtrack.metrics._sites import captured, matching_modules
from devtrack.metrics._spectra import weight_matrices
from devtrack.metrics.attention._patterns import attention_patterns, require_patterns


def test_one_glob_may_come_as_a_string():
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
    assert [path for path, _ in matching_modules(model, "0")] == ["0"]
    assert [path for path, _ in weight_matrices(model, "1.weight")] == ["1.weight"]
    with captured(model, "1") as outputs:
        model(torch.ones(4, 2))
    assert list(outputs) == ["1"]


def test_attention_is_seen_at_one_glob():
    model = nn.ModuleDict({"attention": nn.MultiheadAttention(4, 2, batch_first=True)})
    x = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0))
    with attention_patterns(model, "attention") as seen:
        model["attention"](x, x, x)
    require_patterns(seen, "attention", model)
    assert list(seen) == ["attention"]


def test_a_metric_takes_one_glob_as_it_takes_several():
    model, x = nn.Sequential(nn.Sequential(nn.Linear(4, 4))), torch.eye(4).repeat(8, 1)
    subject = Subject(model, 0, [x], lambda m, b: m(b).sum(), torch.Generator())
    alone, listed = (
        list(Dimensionality(sites=sites).compute(subject)) for sites in ("0.0", ("0.0",))
    )
    assert alone == listed
    assert {row.site for row in alone} == {"0.0"}


def test_every_metric_says_that_it_takes_one_glob():
    exported = (getattr(devtrack, name) for name in devtrack.__all__)
    metrics = [x for x in exported if dataclasses.is_dataclass(x) and hasattr(x, "compute")]
    declared = {
        metric.__name__: field.type
        for metric in metrics
        for field in dataclasses.fields(metric)
        if field.name == "sites"
    }
    assert len(declared) >= 9
    assert set(declared.values()) == {"str | Sequence[str]"}, declared
