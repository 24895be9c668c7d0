import random
import sys
import tempfile
from pathlib import Path

import devinterp.slt.sampler
import numpy as np
import pytest
import torch
from torch import nn

from devtrack.errors import DataError, MetricError
from devtrack.sampling._sequence_losses import draw_losses, num_sampled
from devtrack.sampling.config import SamplerConfig

VOCABULARY = 12
CONFIG = SamplerConfig(
    n_beta=10.0, localization=50.0, lr=1e-3, num_chains=2, num_draws=6, num_burnin_steps=2
)


class Model(nn.Module):
    """Bigrams, with everything in it that devinterp is known to disturb."""

    def __init__(self, dropout=0.0):
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, 8)
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.BatchNorm1d(8)
        self.out = nn.Linear(8, VOCABULARY)
        self.frozen = nn.Linear(8, 8).eval()
        self.frozen.requires_grad_(False)

    def forward(self, tokens):
        x = self.dropout(self.embed(tokens))
        x = self.norm(x.transpose(1, 2)).transpose(1, 2)
        return self.out(x + self.frozen(x))


def _losses(model, tokens):
    log_p = model(tokens)[:, :-1].log_softmax(-1)
    return -log_p.gather(-1, tokens[:, 1:, None])[..., 0]


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Model().eval()


@pytest.fixture
def tokens():
    return torch.randint(VOCABULARY, (12, 7), generator=torch.Generator().manual_seed(1))


def _draw(model, tokens, observed=None, losses=_losses, **options):
    return draw_losses(
        model,
        losses,
        tokens,
        tokens if observed is None else observed,
        **{"settings": CONFIG, "batch_size": 4, "generator": torch.Generator()} | options,
    )


def test_every_sequence_has_its_own_losses_and_baseline(model, tokens):
    """Where the chains hardly move, each sequence's draws are its loss at w*."""
    observed = tokens[[3, 1, 8, 0, 5, 3]]
    still = SamplerConfig(n_beta=1.0, localization=1.0, lr=1e-14, num_chains=2, num_draws=3)
    found = _draw(model, tokens, observed, config=still)
    with torch.no_grad():
        expected = _losses(model, observed).mean(1).numpy()
    assert found.draws.shape == (2, 3, 6)
    np.testing.assert_allclose(found.baseline, expected, rtol=1e-5)
    np.testing.assert_allclose(found.draws, np.broadcast_to(expected, (2, 3, 6)), rtol=1e-4)


def test_chains_differ_and_can_be_repeated(model, tokens):
    once, again = _draw(model, tokens), _draw(model, tokens)
    np.testing.assert_array_equal(once.draws, again.draws)
    assert not np.allclose(once.draws[0], once.draws[1])
    other = _draw(model, tokens, generator=torch.Generator().manual_seed(5))
    assert not np.allclose(once.draws, other.draws)


def test_dropout_stays_off(model, tokens):
    torch.manual_seed(0)
    noisy = Model(dropout=0.5).eval()
    noisy.load_state_dict(model.state_dict())
    np.testing.assert_array_equal(_draw(noisy, tokens).draws, _draw(model, tokens).draws)


def test_only_the_chosen_weights_move(model, tokens):
    silent = torch.zeros(VOCABULARY, 8, dtype=torch.bool)
    silent[int(tokens[0, 0])] = True  # one row of the embedding
    parts = {"embed.weight": silent}
    observed = tokens[:2, :1].repeat(1, 7)
    assert observed[0, 0] != observed[1, 0]
    assert num_sampled(model, parts) == 8
    assert num_sampled(model, None) == VOCABULARY * 8 * 2 + VOCABULARY + 2 * 8
    found = _draw(model, tokens, observed, parts=parts)
    moved = np.ptp(found.draws, axis=(0, 1))
    assert moved[0] > 0
    assert moved[1] == 0


def test_nothing_is_left_behind(model, tokens, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.norm.train()
    modes = [module.training for module in model.modules()]
    wants = [parameter.requires_grad for parameter in model.parameters()]
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    functions = dict(vars(devinterp.slt.sampler))
    _draw(model, tokens)
    assert list(Path(tmp_path).iterdir()) == []
    assert modes == [module.training for module in model.modules()]
    assert wants == [parameter.requires_grad for parameter in model.parameters()]
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert torch.equal(states[0], torch.get_rng_state())
    np.testing.assert_equal(states[1:], (np.random.get_state(), random.getstate()))
    assert functions == dict(vars(devinterp.slt.sampler))
    assert all(parameter.grad is None for parameter in model.parameters())


def test_nothing_is_left_behind_by_an_error(model, tokens, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    state = torch.get_rng_state()

    calls = iter(range(8))

    def failing(model, tokens):
        if next(calls) == 7:
            raise RuntimeError("out of memory")
        return _losses(model, tokens)

    with pytest.raises(RuntimeError, match="out of memory"):
        _draw(model, tokens, losses=failing)
    assert list(Path(tmp_path).iterdir()) == []
    assert torch.equal(state, torch.get_rng_state())


def test_a_chain_that_fails_is_not_a_number(model, tokens):
    wild = SamplerConfig(n_beta=1e30, localization=0.0, lr=1e10, num_chains=2, num_draws=5)
    assert np.isnan(_draw(model, tokens, config=wild).draws).any()


def test_errors_say_given_allowed_next(model, tokens, monkeypatch):
    with pytest.raises(DataError, match=r"12 sequences with batch_size=13.*Pass data="):
        _draw(model, tokens, batch_size=13)
    monkeypatch.setitem(sys.modules, "devinterp.slt.sampling", None)
    monkeypatch.delattr(sys.modules["devinterp.slt"], "sampling", raising=False)
    with pytest.raises(MetricError, match="devinterp.slt cannot be imported.*Run `pip install"):
        _draw(model, tokens)
