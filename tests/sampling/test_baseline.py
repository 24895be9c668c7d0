import zlib

import numpy as np
import pytest
import torch
from torch import nn

from devtrack.errors import MetricError
from devtrack.model_state.isolation import isolated
from devtrack.sampling._baseline import FIXED_NOTE, NOT_FIXED_NOTE, take_baseline
from devtrack.sampling._objective import Objective
from devtrack.sampling.config import SamplerConfig
from devtrack.sampling.sampler import sample

X = torch.randn(3, 16, 4, generator=torch.Generator().manual_seed(0)).double()
BATCHES = [(x, torch.full((len(x),), k)) for k, x in enumerate(X)]


def _model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 4)).double().eval()


def _sample(loss, *, engine="auto", seed=3):
    return sample(
        _model(),
        loss,
        BATCHES,
        config=SamplerConfig(num_chains=3, num_draws=20, num_burnin_steps=5, n_beta=50.0),
        generator=torch.Generator().manual_seed(seed),
        engine=engine,
    )


def _plain(model, batch):
    return (model(batch[0]) - batch[0]).square().mean()


def _denoising(model, batch):
    x = batch[0]
    return (model(x + 0.3 * torch.randn_like(x)) - x).square().mean()


def _mixing(model, batch):
    share = np.random.beta(0.5, 0.5)  # as mixup does it
    return (model(share * batch[0] + (1 - share) * batch[0].flip(0)) - batch[0]).square().mean()


@pytest.mark.parametrize("loss", [_plain, _denoising, _mixing])
@pytest.mark.parametrize("engine", ["auto", "sequential", "reference"])
def test_draws_and_baselines_are_of_one_loss(loss, engine):
    chains = _sample(loss, engine=engine)
    np.testing.assert_allclose(chains.loss[:, 0], chains.baseline[:, 0], rtol=1e-12)
    other = _sample(loss, engine=engine, seed=4)
    assert chains.data_baseline == other.data_baseline  # the noise is the data's, not the chains'
    assert chains.engine_note.endswith("" if loss is _plain else FIXED_NOTE)


def test_fixed_noise_is_that_of_a_loss_without_any():
    """Naive twin: the noise is drawn beforehand and passed with the batch."""

    def given(model, batch):
        with isolated(seed=zlib.crc32(f"noise of batch {int(batch[1][0])}".encode())):
            noise = torch.randn_like(batch[0])
        return (model(batch[0] + 0.3 * noise) - batch[0]).square().mean()

    drawn, twin = _sample(_denoising), _sample(given, engine="sequential")
    np.testing.assert_array_equal(drawn.loss, twin.loss)
    np.testing.assert_array_equal(drawn.baseline, twin.baseline)
    assert (drawn.prior_loss_increase, twin.engine_note) == (twin.prior_loss_increase, "")


def test_a_loss_without_noise_is_not_seeded():
    objective = Objective(_model(), _plain, BATCHES)
    with isolated(seed=1):
        before = torch.random.get_rng_state()
        baseline = take_baseline(objective)
        objective.loss(objective.anchor, 1)
        assert torch.equal(torch.random.get_rng_state(), before)
    assert (baseline.is_fixed, baseline.note) == (True, "")


def test_a_loss_with_a_state_is_measured_and_named():
    calls = []

    def dividing(model, batch):
        calls.append(batch)
        return _plain(model, batch) * (1 + 1 / len(calls))

    chains = _sample(dividing)
    assert chains.engine_note == f"chains ran one after another: {NOT_FIXED_NOTE}"
    assert np.isfinite(chains.loss).all()


def test_a_loss_that_depends_on_requires_grad_is_refused():
    def two_faced(model, batch):
        return _plain(model, batch) * (2 if model[0].weight.requires_grad else 1)

    with pytest.raises(MetricError, match=r"L\(w\*\) is .* must be one function.*pass loss="):
        _sample(two_faced)
