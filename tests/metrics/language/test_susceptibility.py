import numpy as np
import pytest
import torch
import xarray as xr
from devinterp.slt.bif import compute_bif
from devinterp.slt.susceptibilities import compute_susceptibilities
from torch import nn

from devtrack.errors import ConfigError, DataError
from devtrack.metrics.language import _posterior as posterior
from devtrack.metrics.language.bayesian_influence import BayesianInfluence
from devtrack.metrics.language.susceptibility import Susceptibility
from devtrack.metrics.metric import Subject
from devtrack.records import Status
from devtrack.sampling._sequence_losses import SequenceLosses

FEW = {"num_chains": 2, "num_draws": 40, "num_burnin_steps": 10, "batch_size": 8}


class Bigrams(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(6, 6, bias=False)
        self.second = nn.Linear(6, 6, bias=False)

    def forward(self, tokens):
        x = nn.functional.one_hot(tokens, 6).float()
        return self.first(x) + self.second(x)


def _text(count, seed, length=8):
    return torch.randint(6, (count, length), generator=torch.Generator().manual_seed(seed))


def _subject():
    torch.manual_seed(0)
    return Subject(Bigrams().eval(), 0, [_text(32, 0)], lambda m, b: m(b).sum(), torch.Generator())


def _tree(losses, names, baseline):
    """Return losses per sequence in the form that devinterp's own post-processing takes."""
    arrays = {"init_loss": xr.DataArray(np.array([[baseline]]), dims=("chain0", "token_pos"))}
    for name, part in zip(names, losses, strict=True):
        dims = ("chain", "draw", f"batch_{name}", "token_pos")
        arrays[f"loss_{name}"] = xr.DataArray(part[..., None], dims=dims)
        arrays[f"input_ids_{name}"] = xr.DataArray(
            np.zeros((part.shape[2], 2), dtype=int), dims=(f"batch_{name}", "token")
        )
    return xr.DataTree(xr.Dataset(arrays))


@pytest.fixture
def planted(monkeypatch):
    """Losses of 8 sequences of L and 4 of another set, for each call; two chains of 60 draws."""
    calls = []

    def draw(*args, **options):
        rng = np.random.default_rng(len(calls))
        away = rng.gamma(4.0, 0.03, size=(2, 60, 1))
        draws = 1.0 + away * rng.uniform(0.5, 1.5, size=12) + 0.02 * rng.normal(size=(2, 60, 12))
        calls.append(draws)
        return SequenceLosses(draws, np.full(12, 1.0))

    monkeypatch.setattr(posterior, "draw_losses", draw)
    return calls


def test_a_susceptibility_is_the_mean_over_tokens_of_devinterps(planted):
    metric = Susceptibility(
        sites=("first", "second"), perturbation_data={"other": (_text(4, 1),)}, **FEW
    )
    subject = _subject()
    subject.batches[0].resize_(8, 8)
    rows = list(metric.compute(subject))
    assert [(row.metric, row.site) for row in rows] == [
        ("susceptibility/other", "first"),
        ("susceptibility/other", "second"),
    ]
    trees = {
        key: _tree((draws[..., :8], draws[..., 8:]), ("L", "other"), 1.0)
        for key, draws in zip(("full", "first", "second"), planted, strict=True)
    }
    oracle = compute_susceptibilities(trees, "L")["susceptibilities"]["sus"].mean("sus_flat")
    np.testing.assert_allclose([row.value for row in rows], oracle.values, rtol=1e-6)


def test_a_susceptibility_by_hand(planted):
    metric = Susceptibility(sites="first", perturbation_data={"other": (_text(4, 1),)}, **FEW)
    subject = _subject()
    subject.batches[0].resize_(8, 8)
    (row,) = metric.compute(subject)
    whole, own = planted
    total, mean = 0.0, 0.0
    for chain in range(2):
        for draw in range(60):
            reference, other = own[chain, draw, :8].mean(), own[chain, draw, 8:].mean()
            total += (reference - 1.0) * (other - reference) / 120
            mean += (reference - 1.0) / 120
    difference = whole[..., 8:].mean() - whole[..., :8].mean()
    assert row.value == pytest.approx(-(total - mean * difference))
    assert row.se > 0
    assert row.attrs["llc"] == pytest.approx(30 * (own[..., :8].mean() - 1.0))


def test_an_influence_is_devinterps(planted):
    metric = BayesianInfluence(query_data={"q": (_text(4, 1),)}, num_examples=3, **FEW)
    subject = _subject()
    subject.batches[0].resize_(8, 8)
    rows = list(metric.compute(subject))
    assert [(row.metric, row.site) for row in rows] == [
        ("influence/q", f"example.{i}") for i in range(3)
    ]
    (draws,) = planted
    query = draws[..., 8:].mean(2, keepdims=True)
    oracle = compute_bif(
        _tree((draws[..., :3], query), ("a", "b"), 1.0),
        correlation_method="sequence",
        compute_covariance=True,
        device="cpu",
    )["influences"].values
    np.testing.assert_allclose([-row.value for row in rows], oracle[:3, 3], rtol=1e-6)
    by_hand = np.cov(draws[..., 1].ravel(), query.ravel())[0, 1]
    assert rows[1].value == pytest.approx(-by_hand)
    assert all(row.se > 0 for row in rows)


def test_influence_is_largest_on_the_sequence_itself():
    """A planted truth: bigrams that two sequences share pull both losses the same way."""
    same = torch.tensor([[0, 1] * 4])
    apart = torch.tensor([[2, 3] * 4])
    subject = _subject()
    subject.batches[0][0], subject.batches[0][1] = same[0], apart[0]
    options = {**FEW, "num_draws": 200, "localization": 100.0, "lr": 3e-3}
    metric = BayesianInfluence(query_data={"same": (same,)}, num_examples=2, **options)
    first, second = metric.compute(subject)
    assert first.value < -5 * first.se
    assert abs(second.value) < 3 * second.se + 0.2 * abs(first.value)


def test_failed_chains_make_failed_rows():
    subject = _subject()
    wild = {**FEW, "lr": 1e12, "n_beta": 1e30}
    (row,) = BayesianInfluence(query_data={"q": (_text(4, 1),)}, num_examples=1, **wild).compute(
        subject
    )
    assert row.status is Status.FAILED
    assert "non-finite" in row.attrs["error"]
    assert np.isnan(row.value)


def test_errors_say_given_allowed_next():
    with pytest.raises(
        ConfigError, match=r"sites=\(\), perturbation_data=\[\]: at least one of each"
    ):
        Susceptibility()
    with pytest.raises(ConfigError, match="at least one query, and from 1 to num_observed=64"):
        BayesianInfluence(query_data={"q": (_text(4, 1),)}, num_examples=65)
    with pytest.raises(ConfigError, match="num_chains=1"):
        BayesianInfluence(query_data={"q": (_text(4, 1),)}, num_chains=1)
    with pytest.raises(ConfigError, match="batch_size=0.*must be an integer of at least 1"):
        BayesianInfluence(query_data={"q": (_text(4, 1),)}, batch_size=0)
    metric = BayesianInfluence(query_data={"q": (_text(4, 1, length=5),)}, **FEW)
    with pytest.raises(DataError, match=r"sequences of \[5, 8\] tokens: all must be of one length"):
        list(metric.compute(_subject()))
