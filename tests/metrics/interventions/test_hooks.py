import pytest
import torch
from torch import nn

from devtrack.errors import ConfigError, MetricError
from devtrack.metrics.interventions._hooks import activation_at, changed, places, require_where

X = torch.arange(12.0).reshape(2, 6)


def _place(model, site="0", where="output", num_heads=None, head=0):
    return places(model, [site], where, num_heads)[head]


@pytest.mark.parametrize("where", ["output", "input"])
def test_a_replacement_is_what_the_rest_of_the_model_sees(where):
    model = nn.Sequential(nn.Linear(6, 6), nn.ReLU())
    seen = X if where == "input" else model[0](X)
    with changed(_place(model, where=where), lambda now: -now) as reached:
        out = model(X)
    expected = model[1](model[0](-seen) if where == "input" else -seen)
    assert torch.equal(out, expected)
    assert len(reached) == 1
    torch.testing.assert_close(activation_at(_place(model, where=where), lambda: model(X)), seen)
    assert not model[0]._forward_hooks and not model[0]._forward_pre_hooks


def test_a_head_is_its_part_of_the_last_dimension():
    model = nn.Sequential(nn.Identity())
    place = _place(model, num_heads=3, head=1)
    assert place.site == "0.head.1"
    before, expected = X.clone(), X.clone()
    with changed(place, torch.zeros_like):
        out = model(X)
    expected[:, 2:4] = 0
    assert torch.equal(out, expected)
    assert torch.equal(X, before)  # an identity hands on its input, which is not ours to write to
    assert torch.equal(activation_at(place, lambda: model(X)), X[:, 2:4])


class Pair(nn.Module):
    def forward(self, x):
        return x, x + 1


def test_of_a_tuple_the_first_is_meant():
    model = nn.Sequential(Pair())
    with changed(_place(model), torch.zeros_like):
        first, second = model(X)
    assert torch.equal(first, torch.zeros_like(X))
    assert torch.equal(second, X + 1)


class Named(nn.Module):
    def forward(self, x):
        return {"x": x}


def test_errors_say_given_allowed_next():
    with pytest.raises(MetricError, match="site '0': output of type dict cannot be replaced"):
        activation_at(_place(model := nn.Sequential(Named())), lambda: model(X))
    with pytest.raises(MetricError, match="site '0': the forward pass never calls"):
        activation_at(_place(nn.Sequential(nn.Identity())), lambda: None)
    with pytest.raises(MetricError, match="6 units do not fall into 4 heads"):
        activation_at(_place(model := nn.Sequential(nn.Identity()), num_heads=4), lambda: model(X))
    with pytest.raises(ConfigError, match="where='middle': must be 'output' or 'input'"):
        require_where("middle", None)
    with pytest.raises(ConfigError, match="num_heads=0"):
        require_where("input", 0)
