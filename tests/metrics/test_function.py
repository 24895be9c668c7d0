import math

import pytest
import torch
from torch import nn

from devtrack.metrics.function import FunctionMetric
from devtrack.metrics.metric import Subject

SUBJECT = Subject(
    nn.Identity(),
    0,
    [torch.tensor([1.0, 2.0, 3.0]), torch.tensor([6.0])],
    lambda model, batch: batch.mean(),
    torch.Generator(),
)


def test_per_sample_values_give_a_mean_and_its_error():
    (row,) = FunctionMetric("f", lambda model, batch: model(batch)).compute(SUBJECT)
    values = torch.tensor([1.0, 2.0, 3.0, 6.0])
    assert row.value == pytest.approx(3.0)
    assert row.se == pytest.approx(float(values.std() / 2), rel=1e-6)


def test_numbers_per_batch_are_weighed_by_samples():
    (row,) = FunctionMetric("f", lambda model, batch: batch.mean()).compute(SUBJECT)
    assert row.value == pytest.approx((2 * 3 + 6) / 4)


def test_a_dict_gives_a_row_a_key():
    rows = list(FunctionMetric("f", lambda m, b: {"max": b.max(), "min": b.min()}).compute(SUBJECT))
    assert [r.metric for r in rows] == ["f/max", "f/min"]


def test_one_number_has_no_error():
    subject = Subject(nn.Identity(), 0, [torch.ones(3)], SUBJECT.loss, torch.Generator())
    (row,) = FunctionMetric("f", lambda m, b: 2.5).compute(subject)
    assert row.value == 2.5
    assert math.isnan(row.se)
