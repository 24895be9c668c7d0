import pytest
import torch
from torch import nn

from devtrack.errors import MetricError
from devtrack.metrics.metric import Subject
from devtrack.metrics.weights import WeightNorm


def _rows(model, **options):
    subject = Subject(model, 0, [], lambda m, b: torch.tensor(0.0), torch.Generator())
    return {row.site: row.value for row in WeightNorm(**options).compute(subject)}


def test_norms_are_those_of_the_concatenated_parameters():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    model[2].bias.requires_grad_(False)
    flat = torch.cat([p.flatten() for p in model.parameters() if p.requires_grad])
    rows = _rows(model, sites=("0", "2"))
    assert rows["model"] == pytest.approx(float(flat.norm().detach()), rel=1e-6)
    assert rows["2"] == pytest.approx(float(model[2].weight.norm().detach()), rel=1e-6)
    assert rows.keys() == {"model", "0", "2"}


@pytest.mark.parametrize(
    ("dtype", "value"), [(torch.bfloat16, 1.0), (torch.float16, 300.0), (torch.float32, 1.0)]
)
def test_norms_are_exact_in_every_precision(dtype, value):
    model = nn.Linear(300, 300, bias=False).to(dtype)
    sizes = []
    for factor in (1.0, 1.0078125):  # neighbours in bfloat16
        with torch.no_grad():
            model.weight.fill_(value * factor)
        sizes.append(_rows(model)["model"])
        expected = float(model.weight.detach().double().norm())
        assert sizes[-1] == pytest.approx(expected, rel=1e-6)  # float32 over rows of 1024
    assert sizes[1] > sizes[0]


def test_norms_of_double_precision_are_double():
    model = nn.Linear(1, 1, bias=False).double()
    with torch.no_grad():
        model.weight.fill_(1 + 1e-12)
    assert _rows(model)["model"] == 1 + 1e-12


def test_a_model_without_parameters_has_norm_zero():
    assert _rows(nn.ReLU()) == {"model": 0.0}


def test_a_wrong_site_names_near_ones():
    model = nn.ModuleDict({"encoder": nn.Linear(1, 1), "decoder": nn.Linear(1, 1)})
    with pytest.raises(MetricError, match=r"site 'encodr'.*Near ones: encoder"):
        _rows(model, sites=("encodr",))
