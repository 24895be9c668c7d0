import numpy as np
import pytest
import torch
from torch import nn

from devtrack.errors import MetricError
from devtrack.metrics.attention.composition import HeadComposition, HeadWeights, composition
from devtrack.metrics.metric import Subject
from devtrack.records import Status


def _random(site, seed, head_weights=3, width=16, head_width=4):
    rng = torch.Generator().manual_seed(seed)
    q, k, v = (torch.randn(head_weights, head_width, width, generator=rng) for _ in range(3))
    return HeadWeights(site, q, k, v, torch.randn(head_weights, width, head_width, generator=rng))


def _rows(head_weights=None, model=None):
    model = nn.Identity() if model is None else model
    options = {} if head_weights is None else {"head_weights": lambda _: head_weights}
    subject = Subject(model, 0, [], lambda m, b: torch.tensor(0.0), torch.Generator())
    found = HeadComposition(**options).compute(subject)
    return {(row.site, row.metric.rpartition("/")[2]): row for row in found}


@pytest.mark.parametrize("kind", ["q", "k", "v"])
def test_scores_are_those_of_the_whole_matrices(kind):
    later, earlier = _random("b", 0), _random("a", 1, head_weights=2)
    scores = composition(later, earlier, kind)
    for i in range(3):
        w_qk = (later.w_q[i].T @ later.w_k[i]).double().numpy()
        w_ov = (later.w_o[i] @ later.w_v[i]).double().numpy()
        a = {"q": w_qk.T, "k": w_qk, "v": w_ov}[kind]
        for j in range(2):
            b = (earlier.w_o[j] @ earlier.w_v[j]).double().numpy()
            expected = np.linalg.norm(a @ b) / np.linalg.norm(a) / np.linalg.norm(b)
            assert float(scores[i, j]) == pytest.approx(expected, rel=1e-5)


def test_a_planted_reader_is_found_by_the_right_letter():
    """Head 1 of layer b takes its keys from where head 2 of layer a writes, in one dimension."""
    earlier, later = _random("a", 0, head_weights=3), _random("b", 1, head_weights=2)
    where = torch.zeros(16, 4)
    where[5, 0] = 1.0
    earlier.w_o[2] = where
    later.w_k[1] = where.T
    row = _rows([earlier, later])["b.head.1", "k"]
    assert row.value == pytest.approx(1.0, abs=1e-6)
    assert row.attrs["earlier"] == "a.head.2"
    others = [r.value for key, r in _rows([earlier, later]).items() if key != ("b.head.1", "k")]
    assert max(others) < 0.7


def test_heads_turned_at_random_are_at_chance():
    """No-change control: the root mean square over random pairs is 1/√width."""
    found = [
        composition(_random("b", seed, width=64), _random("a", seed + 1000, width=64), "k")
        for seed in range(50)
    ]
    assert float(torch.stack(found).square().mean().sqrt()) == pytest.approx(1 / 8, rel=0.05)
    assert _rows([_random("a", 0, width=64), _random("b", 1, width=64)])["b.head.0", "v"].attrs[
        "chance"
    ] == pytest.approx(1 / 8)


def test_multihead_attention_is_read_as_torch_applies_it():
    torch.manual_seed(0)
    model = nn.ModuleList([nn.MultiheadAttention(8, 2, bias=False) for _ in range(2)]).eval()
    rows = _rows(model=model)
    assert {site for site, _ in rows} == {"1.head.0", "1.head.1"}
    first, second = HeadComposition().head_weights(model)
    x = torch.randn(5, 8)
    with torch.no_grad():
        out, pattern = model[0](x, x, x, average_attn_weights=False)
        ours = sum(pattern[h] @ (x @ first.w_v[h].T @ first.w_o[h].T) for h in range(2))
        scores = torch.stack([x @ first.w_q[h].T @ first.w_k[h] @ x.T for h in range(2)])
    torch.testing.assert_close(ours, out, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close((scores / 2).softmax(-1), pattern, rtol=1e-4, atol=1e-5)
    assert second.site == "1"


class PerHead(nn.Module):
    """TransformerLens' attention, without its hooks."""

    def __init__(self):
        super().__init__()
        for letter in "QKV":
            setattr(self, f"W_{letter}", nn.Parameter(torch.randn(2, 8, 4)))
        self.W_O = nn.Parameter(torch.randn(2, 4, 8))

    def forward(self, x):
        q, k, v = (torch.einsum("pd,hde->hpe", x, w) for w in (self.W_Q, self.W_K, self.W_V))
        pattern = (q @ k.mT).softmax(-1)
        return torch.einsum("hpe,hed->pd", pattern @ v, self.W_O), pattern


def test_transformer_lens_is_read_as_it_applies_it():
    torch.manual_seed(0)
    model = nn.ModuleList([PerHead(), PerHead()]).eval()
    assert {site for site, _ in _rows(model=model)} == {"1.head.0", "1.head.1"}
    first, _ = HeadComposition().head_weights(model)
    x = torch.randn(5, 8)
    with torch.no_grad():
        out, pattern = model[0](x)
        ours = sum(pattern[h] @ (x @ first.w_v[h].T @ first.w_o[h].T) for h in range(2))
        scores = torch.stack([x @ first.w_q[h].T @ first.w_k[h] @ x.T for h in range(2)])
    torch.testing.assert_close(ours, out, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(scores.softmax(-1), pattern, rtol=1e-4, atol=1e-5)


def test_zero_weights_and_other_models_are_told():
    zero = HeadWeights("b", *(torch.zeros_like(w) for w in _random("b", 0)[1:]))
    row = _rows([_random("a", 1), zero])["b.head.0", "q"]
    assert row.status is Status.FAILED
    with pytest.raises(
        MetricError, match="Identity holds no nn.MultiheadAttention.*Pass head_weights="
    ):
        _rows()
