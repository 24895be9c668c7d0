import math

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.functional import scaled_dot_product_attention as imported_early

from devtrack.errors import MetricError
from devtrack.metrics.attention._patterns import (
    attention_pattern_of,
    attention_patterns,
    require_patterns,
)

HEADS, WIDTH = 2, 8


def _causal_by_loops(q, k):
    """Naive twin: one score at a time, (sample, head, query, key)."""
    out = torch.zeros(*q.shape[:3], k.shape[2])
    for n in range(q.shape[0]):
        for h in range(q.shape[1]):
            for i in range(q.shape[2]):
                scores = [
                    float(q[n, h, i] @ k[n, h, j]) / math.sqrt(q.shape[3]) for j in range(i + 1)
                ]
                total = sum(map(math.exp, scores))
                out[n, h, i, : i + 1] = torch.tensor([math.exp(s) / total for s in scores])
    return out


class Attention(nn.Module):
    """Multi-head causal attention, computed in one of several ways."""

    def __init__(self, way="sdpa"):
        super().__init__()
        self.way = way
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.softmax = nn.Softmax(dim=-1)
        self.hook_pattern = nn.Identity()

    def project(self, x):
        return self.qkv(x).unflatten(-1, (3, HEADS, WIDTH // HEADS)).permute(2, 0, 3, 1, 4)

    def forward(self, x):
        q, k, v = self.project(x)
        if self.way == "sdpa":
            return functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        if self.way == "imported early":
            return imported_early(q, k, v, is_causal=True)
        scores = q @ k.mT / math.sqrt(q.shape[-1])
        scores = scores.masked_fill(torch.ones(scores.shape[-2:]).triu(1).bool(), -1e9)
        if self.way == "module":
            return self.softmax(scores) @ v
        softmax = {
            "functional": lambda s: functional.softmax(s, dim=-1),
            "torch": lambda s: torch.softmax(s, 3),
        }.get(self.way, lambda s: s.softmax(-1))
        pattern = softmax(scores)
        if self.way.startswith("hook_pattern"):
            pattern = self.hook_pattern(pattern)
        return (pattern @ v, pattern.clone()) if self.way.endswith("returned") else pattern @ v


WAYS = ["sdpa", "imported early", "functional", "torch", "method", "returned", "hook_pattern"]
WAYS += ["hook_pattern and returned"]  # as in TransformerLens 4


@pytest.mark.parametrize("way", WAYS)
def test_the_pattern_is_the_same_whichever_way_it_is_computed(way):
    model = nn.Sequential(nn.Identity(), Attention(way)).eval()
    x = torch.randn(2, 5, WIDTH, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), attention_patterns(model) as seen:
        model(x)
    assert set(seen) == {"1"}
    q, k, _ = model[1].project(x).detach()
    torch.testing.assert_close(seen["1"], _causal_by_loops(q, k), rtol=1e-4, atol=1e-6)


def test_a_softmax_module_is_a_site_of_its_own():
    model = Attention("module").eval()
    with torch.no_grad(), attention_patterns(model) as seen:
        model(torch.randn(2, 5, WIDTH))
    assert seen["softmax"].shape == (2, HEADS, 5, 5)


def test_what_a_block_hands_on_is_not_taken_twice():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.attn = Attention("returned")

        def forward(self, x):
            out, weights = self.attn(x)
            return out.transpose(1, 2).flatten(2), weights

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.ModuleList([Block(), Block(), Block()])

        def forward(self, x):
            for block in self.blocks:
                x, _ = block(x)  # the pattern is freed here, and its id may be used again
            return x

    model = Model().eval()
    with torch.no_grad(), attention_patterns(model) as seen:
        model(torch.randn(2, 5, WIDTH))
    assert set(seen) == {"blocks.0.attn", "blocks.1.attn", "blocks.2.attn"}


@pytest.mark.parametrize("mask", [None, "bool", "float"])
@pytest.mark.parametrize("options", [{}, {"is_causal": True}, {"scale": 0.3}, {"enable_gqa": True}])
def test_the_recomputed_pattern_gives_torchs_own_output(mask, options):
    if mask and options.get("is_causal"):
        pytest.skip("torch allows one of the two")
    rng = torch.Generator().manual_seed(0)
    kv_heads = 2 if options.get("enable_gqa") else 4
    q = torch.randn(3, 4, 6, 8, generator=rng)
    k, v = (torch.randn(3, kv_heads, 7, 8, generator=rng) for _ in range(2))
    attn_mask = None
    if mask == "bool":
        attn_mask = torch.rand(3, 1, 6, 7, generator=rng) > 0.3
        attn_mask[0, 0, 2] = False  # a query that may attend to nothing
    elif mask == "float":
        attn_mask = torch.randn(6, 7, generator=rng)
    pattern = attention_pattern_of(q, k, v, attn_mask, **options)
    if options.get("enable_gqa"):
        v = v.repeat_interleave(2, 1)
        q_like = functional.scaled_dot_product_attention(q, k.repeat_interleave(2, 1), v, attn_mask)
    else:
        q_like = functional.scaled_dot_product_attention(q, k, v, attn_mask, **options)
    torch.testing.assert_close(pattern @ v, q_like, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(5, 4), (2, 5, 4)])
def test_without_a_head_dimension_there_is_one_head(shape):
    q = torch.randn(shape)
    pattern = attention_pattern_of(q, q)
    assert pattern.shape == (math.prod(shape[:-2]), 1, 5, 5)


@pytest.mark.parametrize("asked", [{}, {"need_weights": False}, {"average_attn_weights": False}])
def test_multihead_attention_returns_what_it_was_asked_for(asked):
    torch.manual_seed(0)
    model = nn.ModuleDict({"attn": nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)}).eval()
    x = torch.randn(3, 5, WIDTH)
    with torch.no_grad():
        expected_out, expected = model["attn"](x, x, x, **asked)
        _, every_head = model["attn"](x, x, x, average_attn_weights=False)
        with attention_patterns(model) as seen:
            out, weights = model["attn"](x, x, x, **asked)
    torch.testing.assert_close(seen["attn"], every_head)
    torch.testing.assert_close(out, expected_out)
    assert (weights is None) == (expected is None)
    if weights is not None:
        torch.testing.assert_close(weights, expected)


def test_the_fused_encoder_layer_is_seen_and_gives_the_same_output():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 16, batch_first=True).eval()
    x = torch.randn(3, 5, WIDTH)
    with torch.no_grad():
        expected = layer(x)
        with attention_patterns(layer) as seen:
            out = layer(x)
    assert set(seen) == {"self_attn"}
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-6)


def test_everything_is_put_back_even_after_an_error():
    model = nn.Sequential(Attention(), nn.Linear(3, 3)).eval()  # the second does not fit
    assert torch.backends.mha.get_fastpath_enabled()
    with pytest.raises(RuntimeError), attention_patterns(model) as seen:
        model(torch.randn(2, 5, WIDTH))
    assert set(seen) == {"0"}
    assert torch.backends.mha.get_fastpath_enabled()
    assert torch.overrides._len_torch_function_stack() == 0
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    count = len(seen)
    model[0](torch.randn(2, 5, WIDTH))
    assert len(seen) == count


def test_several_calls_are_the_heads_of_one_module():
    class OneByOne(Attention):
        def forward(self, x):
            q, k, v = self.project(x)
            heads = zip(q.unbind(1), k.unbind(1), v.unbind(1))
            return torch.cat(
                [functional.scaled_dot_product_attention(*h, is_causal=True) for h in heads], -1
            )

    one, together = OneByOne().eval(), Attention().eval()
    together.load_state_dict(one.state_dict())
    x = torch.randn(2, 5, WIDTH)
    with torch.no_grad(), attention_patterns(one) as a, attention_patterns(together) as b:
        one(x)
        together(x)
    torch.testing.assert_close(a["model"], b["model"])


def test_a_glob_without_a_pattern_names_near_modules():
    model = nn.Sequential(nn.Linear(WIDTH, WIDTH), Attention()).eval()
    with torch.no_grad(), attention_patterns(model, ["1"]) as seen:
        model(torch.randn(2, 5, WIDTH))
    require_patterns(seen, ["1"], model)
    with pytest.raises(MetricError, match=r"site '0': no attention pattern.*Near modules: "):
        require_patterns(seen, ["0"], model)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_a_hugging_face_model_tells_its_own_attentions(implementation):
    transformers = pytest.importorskip("transformers")
    sizes = {"vocab_size": 50, "n_positions": 16, "n_embd": 16, "n_layer": 2, "n_head": 4}
    config = transformers.GPT2Config(**sizes, bos_token_id=0, eos_token_id=0)
    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(config).eval()
    model.set_attn_implementation("eager")
    tokens = torch.randint(50, (2, 10))
    with torch.no_grad():
        oracle = model(tokens, output_attentions=True).attentions
        model.set_attn_implementation(implementation)
        assert model.config._attn_implementation == implementation
        with attention_patterns(model) as seen:
            model(tokens)
    assert set(seen) == {"transformer.h.0.attn", "transformer.h.1.attn"}
    for layer, pattern in enumerate(oracle):
        found = seen[f"transformer.h.{layer}.attn"]
        torch.testing.assert_close(found, pattern, rtol=1e-4, atol=1e-6)
