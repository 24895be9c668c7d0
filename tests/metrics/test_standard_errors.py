import math

import pytest
import torch

from devtrack.metrics._standard_errors import groups_of, jackknife_se


def test_for_a_mean_of_single_rows_it_is_the_textbook_error():
    x = torch.randn(30, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    groups = groups_of(torch.arange(30), 30)
    se = jackknife_se(lambda kept: float(x[kept].mean()), groups)
    assert se == pytest.approx(float(x.std()) / math.sqrt(30), rel=1e-9)


def test_samples_are_never_split():
    sample = torch.tensor([0, 0, 0, 1, 4, 4, 9])
    assert groups_of(sample, 2).tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert groups_of(sample, 99).tolist() == [0, 0, 0, 1, 2, 2, 3]


def test_one_group_has_no_error():
    assert math.isnan(jackknife_se(lambda kept: 1.0, torch.zeros(5, dtype=torch.long)))
