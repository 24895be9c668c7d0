from functools import cache

import pytest
import torch
from torch import nn

from devtrack.errors import MetricError
from devtrack.sampling.calibration import StepSizeSearchConfig, find_step_size
from devtrack.sampling.config import SamplerConfig

SEARCH = StepSizeSearchConfig()


def _problem():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1)).eval()
    x = torch.randn(64, 4)
    return model, [(x, x[:, :1] * x[:, 1:2])]


def _loss(model, batch):
    return (model(batch[0]) - batch[1]).square().mean()


def _find(model, batches, *, loss=_loss, seed=0, **config):
    return find_step_size(
        model,
        loss=loss,
        batches=batches,
        config=SamplerConfig(**config),
        generator=torch.Generator().manual_seed(seed),
    )


@cache
def _found():
    """Return what is found on the problem; searched for once."""
    return _find(*_problem())


def test_it_finds_a_step_size_and_restores_the_weights():
    model, batches = _problem()
    before = [p.detach().clone() for p in model.parameters()]
    found = _find(model, batches)
    assert found.found and 1e-5 < found.lr <= 1e-3
    assert 3 <= found.num_trials <= SEARCH.max_halvings + 3
    assert all(torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))
    assert all(p.grad is None for p in model.parameters())


def test_a_stronger_curvature_gets_smaller_steps():
    model, batches = _problem()
    steep = _find(model, batches, loss=lambda m, b: 3e3 * _loss(m, b))
    assert steep.lr < _found().lr / 3


def test_equal_generators_find_the_same():
    assert _find(*_problem()) == _found()


def test_lm_sgld_gets_the_step_size_of_plain_sgld():
    """Its own trials accept a larger one, which larger curvature may not."""
    assert SamplerConfig().method == "sgld"
    assert _find(*_problem(), method="lm_sgld") == _found()


def test_localization_bounds_the_step_size():
    found = _find(*_problem(), localization=1e4)
    assert found.lr <= SEARCH.max_step / 1e4


def test_where_nothing_works_it_says_so_and_stays_small():
    model, batches = _problem()
    found = _find(model, batches, loss=lambda m, b: torch.nan * _loss(m, b))
    assert not found.found
    assert found.lr == pytest.approx(2e-3 / 2**SEARCH.max_halvings)


def test_weights_that_the_loss_does_not_depend_on_are_refused():
    model, batches = _problem()
    with pytest.raises(MetricError, match="does not depend on the model's weights"):
        _find(model, batches, loss=lambda m, b: b[0].sum())
