import pytest
import torch
from torch import nn

from devtrack.errors import ConfigError, MetricError
from devtrack.metrics._components import find_components, require_heads


class Attention(nn.Module):
    """Two blocks with torch's own attention."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([nn.MultiheadAttention(6, 3), nn.MultiheadAttention(6, 3)])
        self.unembed = nn.Linear(6, 4)


def test_a_module_is_all_of_its_weights():
    (found,) = find_components(Attention(), ("unembed",))
    assert found.site == "unembed"
    assert dict(found.parts) == {"unembed.weight": None, "unembed.bias": None}


def test_heads_cut_the_projections_without_overlap():
    model = Attention()
    found = find_components(model, ("blocks.*",), num_heads=3)
    # the glob reaches out_proj as well, which is a module of its own
    num_heads = [c for c in found if "out_proj" not in c.site]
    assert [c.site for c in num_heads] == [
        f"blocks.{b}.head.{h}" for b in (0, 1) for h in (0, 1, 2)
    ]
    first = num_heads[:3]
    for name in ("in_proj_weight", "in_proj_bias", "out_proj.weight"):
        masks = torch.stack([c.parts[f"blocks.0.{name}"] for c in first])
        assert masks.shape[1:] == model.get_parameter(f"blocks.0.{name}").shape
        assert (masks.sum(0) == 1).all(), name
    assert "blocks.0.out_proj.bias" not in first[0].parts  # shared by all heads


def test_a_heads_weights_are_those_that_its_output_depends_on():
    """Naive twin: the gradient of one head's part of the output, by perturbing nothing else."""
    torch.manual_seed(0)
    module = nn.MultiheadAttention(6, 3, bias=True).double()
    # out_proj as identity shows each head's output in its own two features
    with torch.no_grad():
        module.out_proj.weight.copy_(torch.eye(6))
    model = nn.ModuleDict({"attn": module})
    x = torch.randn(5, 1, 6).double()
    found = find_components(model, ("attn",), num_heads=3)
    for head, component in enumerate(found):
        module.zero_grad()
        module(x, x, x)[0][..., 2 * head : 2 * head + 2].square().sum().backward()
        moved = module.in_proj_weight.grad != 0
        assert torch.equal(moved, component.parts["attn.in_proj_weight"])


def test_own_names_for_the_projections():
    model = nn.ModuleDict({"attn": nn.ModuleDict({"mix": nn.Linear(4, 4, bias=False)})})
    with pytest.raises(MetricError, match="head_axes="):
        find_components(model, ("attn",), num_heads=2)
    found = find_components(model, ("attn",), num_heads=2, head_axes={"mix.weight": (1, 1)})
    mask = found[1].parts["attn.mix.weight"]
    assert mask[:, 2:].all() and not mask[:, :2].any()


def test_frozen_and_tied_weights():
    model = nn.ModuleDict({"embed": nn.Linear(3, 3, bias=False), "un": nn.Linear(3, 3, bias=False)})
    model["un"].weight = model["embed"].weight
    (found,) = find_components(model, ("un",))
    assert list(found.parts) == ["embed.weight"]  # the name that named_parameters gives it
    model["embed"].weight.requires_grad_(False)
    with pytest.raises(MetricError, match="no parameter that requires grad"):
        find_components(model, ("un",))


def test_what_cannot_be_divided_is_said():
    with pytest.raises(MetricError, match="cannot be divided into 3 block"):
        find_components(Attention(), ("blocks.0",), num_heads=4)
    with pytest.raises(ConfigError, match="num_heads=0"):
        require_heads(0, ("a",))
    with pytest.raises(ConfigError, match="num_heads=2 with sites="):
        require_heads(2, ())
