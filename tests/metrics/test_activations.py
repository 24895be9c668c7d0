import pytest
import torch
from torch import nn

from devtrack.errors import MetricError
from devtrack.metrics._activations import activations_at
from devtrack.metrics.metric import Subject


def _subject(model, batches):
    return Subject(model, 0, batches, lambda m, b: m(b).sum(), torch.Generator())


def test_rows_are_samples_and_positions_in_order():
    x = torch.arange(24.0).reshape(2, 3, 4)
    model = nn.Sequential(nn.Identity())
    found = activations_at(_subject(model, [x, x + 100]), ["0"])["0"]
    assert torch.equal(found.values, torch.cat([x, x + 100]).reshape(12, 4))
    assert found.sample.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]


def test_channels_may_stand_first():
    x = torch.arange(24.0).reshape(2, 3, 2, 2)
    found = activations_at(_subject(nn.Sequential(nn.Identity()), [x]), ["0"], unit_dim=1)["0"]
    assert found.values.shape == (8, 3)
    assert torch.equal(found.values[1], x[0, :, 0, 1])


def test_a_choice_of_rows_is_the_same_each_time_and_stays_in_order():
    x = torch.randn(50, 4)
    subject = _subject(nn.Sequential(nn.Identity()), [x])
    first, second = (activations_at(subject, ["*"], max_rows=20)["0"] for _ in range(2))
    assert torch.equal(first.values, second.values)
    assert first.sample.tolist() == sorted(set(first.sample.tolist()))
    assert torch.equal(first.values, x[first.sample])
    assert len(first.values) == 20


class Detour(nn.Module):
    def __init__(self):
        super().__init__()
        self.used, self.unused = nn.Identity(), nn.Identity()

    def forward(self, x):
        return self.used(x)


@pytest.mark.parametrize(
    ("sites", "x", "message"),
    [
        (["unused"], torch.ones(2, 2), "site 'unused': the loss never calls this module"),
        (["usde"], torch.ones(2, 2), "site 'usde'.*Near ones: used"),
        (["used"], torch.full((2, 2), torch.nan), "site 'used': activations are not all finite"),
    ],
)
def test_errors_name_the_site(sites, x, message):
    with pytest.raises(MetricError, match=message):
        activations_at(_subject(Detour(), [x]), sites)
