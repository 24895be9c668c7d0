import math

import numpy as np
import pytest
import torch
from torch import nn

from devtrack.errors import ConfigError, MetricError
from devtrack.metrics.interventions.ablation import Ablation
from devtrack.metrics.metric import Subject


class Sum(nn.Module):
    """Adds two branches; the loss is the squared distance to x, so branch a alone is perfect."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.unused = nn.Identity(), nn.Identity(), nn.Identity()

    def forward(self, x):
        return self.a(x) + 0 * self.b(x)


def _loss(model, batch):
    return (model(batch) - batch).square().mean()


def _rows(batches, model=None, **options):
    subject = Subject(model or Sum(), 0, batches, _loss, torch.Generator())
    found = Ablation(**{"sites": ("a", "b")} | options).compute(subject)
    return {row.site: row for row in found}


def _data(count=160, seed=0, mean=2.0):
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, generator=rng) + mean


def test_closed_forms_of_the_three_kinds():
    x = _data()
    zero, mean = _rows([x], kind="zero"), _rows([x], kind="mean")
    resample = _rows([x], kind="resample")
    assert zero["a"].value == pytest.approx(float(x.square().mean()), rel=1e-5)
    exact = float((x - x.mean(0)).square().mean())
    assert mean["a"].value == pytest.approx(exact, rel=1e-5)
    # the expected squared distance of two independent samples is twice the variance
    assert abs(resample["a"].value - 2) < 4 * resample["a"].se
    for rows, name in ((zero, "zero"), (mean, "mean"), (resample, "resample")):
        assert rows["b"].value == rows["b"].se == 0.0  # no-change control
        assert rows["a"].metric == f"ablation_{name}"
        assert rows["a"].attrs == {"clean": 0.0}


def test_the_mean_is_over_all_batches_and_positions():
    x = _data(8)[:, None] * torch.tensor([1.0, -3.0])[:, None]  # (sample, position, unit)
    row = _rows([x[:5], x[5:]], kind="mean")["a"]
    assert row.value == pytest.approx(float((x - x.mean((0, 1))).square().mean()), rel=1e-5)


def test_channels_may_stand_first():
    x = _data(8).reshape(2, 3, 2, 2)
    row = _rows([x], kind="mean", unit_dim=1)["a"]
    exact = float((x - x.mean((0, 2, 3), keepdim=True)).square().mean())
    assert row.value == pytest.approx(exact, rel=1e-5)


def test_resampling_takes_each_other_sample_once():
    x = torch.arange(6.0)[:, None]
    seen = []
    effect = lambda m, b: (seen.append(m(b)), m(b).mean())[1]  # noqa: E731
    _rows([x], kind="resample", sites=("a",), effect=effect, num_groups=3)
    replaced = torch.cat(seen[-3:])
    assert sorted(replaced.flatten().tolist()) == list(range(6))
    assert not (replaced == x).any()


def test_heads_are_ablated_one_by_one():
    x = _data()
    rows = _rows([x], kind="zero", sites=("a",), num_heads=3)
    for head in range(3):
        expected = float(x[:, head].square().mean()) / 3
        assert rows[f"a.head.{head}"].value == pytest.approx(expected, rel=1e-5)


def test_the_error_is_paired_and_that_of_repeated_samples():
    """A large common loss that varies between samples must not enter the error."""

    def effect(model, batch):
        return (model(batch) - batch).square().mean(1) + 100 * batch[:, 0].abs()

    found = [
        _rows([_data(seed=seed)], kind="zero", sites=("a",), effect=effect)["a"]
        for seed in range(80)
    ]
    spread = np.std([row.value for row in found])
    # spread known to 8 %; three of those
    assert math.sqrt(np.mean([r.se**2 for r in found])) == pytest.approx(spread, rel=0.25)


def test_a_behaviour_may_take_the_place_of_the_loss():
    x = _data(mean=0.0)
    right = lambda model, batch: (model(batch)[:, 0] > 0) == (batch[:, 0] > 0)  # noqa: E731
    row = _rows([x], kind="zero", effect=right)["a"]
    assert row.attrs == {"clean": 1.0}
    assert row.value == pytest.approx(float((x[:, 0] <= 0).double().mean()) - 1)


class Flat(Sum):
    def forward(self, x):
        return super().forward(x.reshape(-1, 1)).reshape(x.shape)


def test_errors_say_given_allowed_next():
    with pytest.raises(ConfigError, match="kind='none': must be 'zero', 'mean' or 'resample'"):
        Ablation(sites=("a",), kind="none")
    with pytest.raises(ConfigError, match="num_groups=1"):
        Ablation(sites=("a",), num_groups=1)
    with pytest.raises(MetricError, match="site 'unused': the forward pass never calls"):
        _rows([_data()], kind="zero", sites=("unused",))
    with pytest.raises(MetricError, match="1 sample in a batch, resampling needs at least 2"):
        _rows([_data(1)], kind="resample")
    with pytest.raises(MetricError, match="one row per sample, in one shape"):
        _rows([_data(10)], Flat(), kind="resample")
