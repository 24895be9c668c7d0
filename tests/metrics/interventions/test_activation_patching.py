import numpy as np
import pytest
import torch
from torch import nn

from devtrack.errors import ConfigError, MetricError
from devtrack.metrics.interventions.activation_patching import ActivationPatching
from devtrack.metrics.metric import Subject
from devtrack.records import Status


class Branches(nn.Module):
    """y = 3 a(x) + 1 b(x): branch a carries ¾ of any difference."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Identity(), nn.Identity(), nn.Identity()

    def forward(self, x):
        self.c(x)
        return 3 * self.a(x) + self.b(x)


def _effect(model, inputs, batch):
    return model(inputs)[:, 0]


def _pairs(count=60, seed=0, gap=1.0):
    rng = torch.Generator().manual_seed(seed)
    clean = torch.randn(count, 2, generator=rng)
    return clean, clean - gap * (1 + 0.3 * torch.randn(count, 2, generator=rng))


def _rows(data, **options):
    subject = Subject(Branches(), 0, [], lambda m, b: torch.tensor(0.0), torch.Generator())
    options = {"sites": ("a", "b", "c"), "effect": _effect} | options
    found = ActivationPatching(data=data, **options).compute(subject)
    return {(row.metric, row.site): row for row in found}


def test_planted_shares_are_found():
    data = _pairs()
    rows = _rows(data)
    shares = {site: rows["patching", site].value for site in "abc"}
    assert shares == pytest.approx({"a": 0.75, "b": 0.25, "c": 0.0}, abs=1e-6)
    gap = 4 * (data[0] - data[1])[:, 0]
    assert rows["patching/gap", "model"].value == pytest.approx(float(gap.mean()), rel=1e-5)
    assert all(row.status is Status.OK for row in rows.values())


def test_a_head_is_patched_alone():
    rows = _rows(_pairs(), sites=("a",), num_heads=2)
    assert rows["patching", "a.head.0"].value == pytest.approx(0.75, abs=1e-6)
    assert rows["patching", "a.head.1"].value == pytest.approx(0.0, abs=1e-6)


def test_the_error_is_that_of_repeated_pairs():
    class Saturating(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Identity(), nn.Identity()

        def forward(self, x):
            return torch.tanh(3 * self.a(x)) + self.b(x)

    found = []
    for seed in range(60):
        subject = Subject(Saturating(), 0, [], lambda m, b: torch.tensor(0.0), torch.Generator())
        metric = ActivationPatching(sites=("a",), effect=_effect, data=_pairs(seed=seed))
        found.append(list(metric.compute(subject))[1])
    spread = np.std([row.value for row in found])
    assert 0.2 < np.mean([row.value for row in found]) < 0.8
    # spread known to 9 %; three of those
    assert np.sqrt(np.mean([r.se**2 for r in found])) == pytest.approx(spread, rel=0.3)


def test_without_a_gap_the_shares_are_suspect_or_fail():
    rng = torch.Generator().manual_seed(0)
    same = torch.randn(60, 2, generator=rng)
    noise = torch.randn(60, 2, generator=rng)
    row = _rows((same, same + noise - noise.mean(0)))["patching", "a"]
    assert row.status is Status.SUSPECT
    assert "within two of its standard errors" in row.attrs["reasons"][0]
    row = _rows((same, same))["patching", "a"]
    assert row.status is Status.FAILED


def test_errors_say_given_allowed_next():
    with pytest.raises(MetricError, match=r"effect returned \(\) for 60 pairs: must be a tensor"):
        _rows(_pairs(), effect=lambda m, inputs, b: m(inputs).mean())
    with pytest.raises(ConfigError, match="num_groups=1"):
        ActivationPatching(sites=("a",), effect=_effect, data=_pairs(), num_groups=1)
