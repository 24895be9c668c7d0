import math

import pytest
import torch
from torch import nn

from devtrack.metrics.metric import Subject
from devtrack.metrics.representation.idle_units import UnitActivity


def _rows(model, x, **options):
    subject = Subject(model, 0, [x], lambda m, b: m(b).sum(), torch.Generator())
    found = UnitActivity(**{"sites": ("*",)} | options).compute(subject)
    return {row.metric.rpartition("/")[2]: row for row in found}


def test_planted_dead_and_dormant_units_are_counted():
    x = torch.rand(64, 8, generator=torch.Generator().manual_seed(0)) + 0.5
    x[:, :2] *= -1  # dead behind a ReLU
    x[:, 2] *= 0.01  # dormant, not dead
    rows = _rows(nn.Sequential(nn.ReLU()), x)
    assert rows["dead"].value == 2 / 8
    assert math.isnan(rows["dead"].se)
    assert rows["dormant"].value == 3 / 8
    assert rows["dormant"].se == 0.0
    assert "saturated" not in rows


def test_a_unit_that_fires_once_is_not_dead():
    x = -torch.ones(64, 4)
    x[5, 1] = 1.0
    rows = _rows(nn.Sequential(nn.ReLU()), x)
    assert rows["dead"].value == 3 / 4


@pytest.mark.parametrize("act", [nn.Tanh(), nn.Sigmoid(), nn.Hardtanh(-2.0, 3.0), nn.ReLU6()])
def test_saturation_is_the_share_of_outputs_at_the_ends(act):
    big = torch.full((50, 3), 100.0)
    big[::2] *= -1
    big[:, 0] = 0.3
    assert _rows(nn.Sequential(act), big)["saturated"].value == pytest.approx(2 / 3)


def test_the_error_of_saturation_is_that_of_a_mean_over_samples():
    x = 3 * torch.randn(100, 5, generator=torch.Generator().manual_seed(0))
    rows = _rows(nn.Sequential(nn.Tanh()), x, num_groups=100)
    share = (torch.tanh(x).abs() >= 0.98).double().mean(1)
    assert rows["saturated"].value == pytest.approx(float(share.mean()))
    assert rows["saturated"].se == pytest.approx(float(share.std()) / 10, rel=1e-6)


def test_bounds_may_be_stated():
    rows = _rows(nn.Sequential(nn.Identity()), torch.tensor([[0.0, 0.5]] * 10), bounds=(0.0, 1.0))
    assert rows["saturated"].value == 0.5


def test_where_nothing_fires_all_are_dead_and_dormant():
    rows = _rows(nn.Sequential(nn.ReLU()), -torch.ones(20, 4))
    assert rows["dead"].value == rows["dormant"].value == 1.0
