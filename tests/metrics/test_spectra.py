import math

import numpy as np
import pytest
import torch
from torch import nn

from devtrack.errors import MetricError
from devtrack.metrics._spectra import WeightSpectrum
from devtrack.metrics.metric import Subject
from devtrack.records import Status


def _rows(model, **options):
    subject = Subject(model, 0, [], lambda m, b: torch.tensor(0.0), torch.Generator())
    found = WeightSpectrum(**options).compute(subject)
    return {(row.site, row.metric.rpartition("/")[2]): row for row in found}


def _linear(singular_values, rows=6, columns=9):
    rng = torch.Generator().manual_seed(0)
    u = torch.linalg.qr(torch.randn(rows, rows, generator=rng))[0]
    v = torch.linalg.qr(torch.randn(columns, columns, generator=rng))[0]
    layer = nn.Linear(columns, rows)
    sigma = torch.tensor(singular_values)
    with torch.no_grad():
        layer.weight.copy_(u[:, : len(sigma)] * sigma @ v[: len(sigma)])
    return layer


def test_planted_singular_values_give_the_closed_form():
    rows = _rows(nn.Sequential(_linear([4.0, 2.0, 2.0])))
    assert rows["0.weight", "spectral_norm"].value == pytest.approx(4.0, rel=1e-5)
    assert rows["0.weight", "stable_rank"].value == pytest.approx(24 / 16, rel=1e-5)
    # p = ½, ¼, ¼: the entropy is 1.5 bits; float32 weights leave six more values near 1e-7
    assert rows["0.weight", "effective_rank"].value == pytest.approx(2**1.5, rel=1e-4)


def test_k_equal_directions_have_rank_k():
    rows = _rows(nn.Sequential(_linear([3.0] * 4)))
    assert rows["0.weight", "stable_rank"].value == pytest.approx(4, rel=1e-5)
    assert rows["0.weight", "effective_rank"].value == pytest.approx(4, rel=1e-4)


def test_convolutions_are_flattened_and_stacks_taken_apart():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 5, 2)
            self.heads = nn.Parameter(torch.randn(2, 4, 3))
            self.norm = nn.LayerNorm(4)

    model = Model()
    rows = _rows(model)
    assert {site for site, _ in rows} == {"conv.weight", "heads.0", "heads.1"}
    flat = model.conv.weight.detach().numpy().reshape(5, -1)
    assert rows["conv.weight", "spectral_norm"].value == pytest.approx(
        np.linalg.norm(flat, 2), rel=1e-5
    )
    second = model.heads[1].detach().numpy()
    assert rows["heads.1", "spectral_norm"].value == pytest.approx(
        np.linalg.norm(second, 2), rel=1e-5
    )


def test_a_zero_matrix_has_a_norm_and_no_rank():
    model = nn.Sequential(_linear([0.0]))
    rows = _rows(model)
    assert rows["0.weight", "spectral_norm"].value == 0
    assert rows["0.weight", "stable_rank"].status is Status.FAILED
    assert "is zero" in rows["0.weight", "stable_rank"].attrs["error"]


def test_a_matrix_that_is_not_finite_fails_alone():
    model = nn.Sequential(_linear([math.nan]), _linear([1.0]))
    rows = _rows(model)
    assert rows["0.weight", "spectral_norm"].status is Status.FAILED
    assert rows["1.weight", "spectral_norm"].value == pytest.approx(1.0, rel=1e-5)


def test_globs_choose_and_wrong_ones_name_near_ones():
    model = nn.ModuleDict({"encoder": nn.Linear(3, 3), "decoder": nn.Linear(3, 3)})
    assert {site for site, _ in _rows(model, sites=("enc*",))} == {"encoder.weight"}
    with pytest.raises(MetricError, match=r"site 'encodr\.weight'.*Near ones: encoder\.weight"):
        _rows(model, sites=("encodr.weight",))
    with pytest.raises(MetricError, match=r"encoder\.bias.*no weight matrix"):
        _rows(model, sites=("encoder.bias",))
