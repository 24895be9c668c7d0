import itertools

import pytest
import torch

from devtrack import open_store
from experiments.markov_induction import (
    CONTEXT,
    SYMBOLS,
    TwoLayers,
    chains,
    distances,
    heads,
    main,
    solutions,
)


def naive(symbols):
    """Predict by counting, one position after the other."""
    unigram, bigram = [], []
    for t in range(len(symbols)):
        seen = symbols[: t + 1]
        uni = [seen.count(s) + 1 for s in range(SYMBOLS)]
        followers = [b for a, b in itertools.pairwise(seen) if a == seen[t]]
        bi = [followers.count(s) + 1 for s in range(SYMBOLS)]
        unigram.append([u / sum(uni) for u in uni])
        bigram.append([b / sum(bi) for b in bi])
    return {"unigram": unigram, "bigram": bigram}


def test_solutions_are_what_counting_says():
    symbols = chains(4, seed=0)[:, :20]
    found = solutions(symbols)
    for row, line in enumerate(symbols.tolist()):
        for name, expected in naive(line).items():
            torch.testing.assert_close(found[name][row], torch.tensor(expected).double())


def test_the_bigram_solution_is_the_better_one_on_chains():
    symbols = chains(300, seed=1)
    losses = {
        name: -p.gather(2, symbols[:, 1:, None]).log().mean().item()
        for name, p in solutions(symbols[:, :-1]).items()
    }
    assert losses["bigram"] < losses["unigram"] - 0.05


def test_chains_follow_their_matrix():
    """Rows are Dirichlet(1): the chance that a symbol follows itself is 1/3 on average."""
    symbols = chains(2000, seed=2)
    assert symbols.shape == (2000, CONTEXT + 1)
    assert (symbols[:, 1] == symbols[:, 0]).double().mean().item() == pytest.approx(1 / 3, abs=0.04)
    assert torch.equal(chains(3, seed=5), chains(3, seed=5))


class Planted:
    """Answers with a given distribution and given attention."""

    def __init__(self, probabilities, patterns=()):
        self._logits, self._patterns = probabilities.log(), patterns

    def __call__(self, symbols):
        return self._logits

    def read(self, symbols):
        return self._logits, self._patterns


def test_the_distance_to_oneself_is_zero_and_to_the_other_is_their_divergence():
    batch = chains(8, seed=3)
    both = solutions(batch[:, :-1])
    found = distances(Planted(both["bigram"]), batch)
    assert found["bigram"].abs().max().item() < 1e-12
    p, q = both["unigram"], both["bigram"]
    torch.testing.assert_close(found["unigram"], (p * (p / q).log()).sum(-1).mean(-1))


def test_heads_score_one_for_planted_attention():
    batch = chains(8, seed=4)
    symbols = batch[:, :-1]
    previous = torch.zeros(8, CONTEXT, CONTEXT)
    previous[:, torch.arange(1, CONTEXT), torch.arange(CONTEXT - 1)] = 1
    induction = torch.zeros(8, CONTEXT, CONTEXT)
    share = torch.zeros(8)
    for row in range(8):
        for t in range(CONTEXT):
            places = [s + 1 for s in range(t) if symbols[row, s] == symbols[row, t]]
            induction[row, t, places] = 1 / max(len(places), 1)
            share[row] += (len(places) > 0) / CONTEXT
    uniform = torch.ones(CONTEXT, CONTEXT).tril()
    uniform = (uniform / uniform.sum(-1, keepdim=True)).expand(8, -1, -1)
    planted = heads(Planted(torch.ones(1), (previous, induction)), batch)
    torch.testing.assert_close(planted["previous"], torch.ones(8))
    torch.testing.assert_close(planted["induction"], share)
    flat = heads(Planted(torch.ones(1), (uniform, uniform)), batch)
    torch.testing.assert_close(flat["induction"], planted["induction_chance"])
    assert (flat["previous"] < 0.1).all()


def test_attention_looks_back_only():
    _, patterns = TwoLayers().read(chains(2, seed=0)[:, :-1])
    for pattern in patterns:
        torch.testing.assert_close(pattern.sum(-1), torch.ones(2, CONTEXT))
        assert pattern.triu(1).abs().max().item() == 0


@pytest.mark.slow
def test_smoke(tmp_path, capsys):
    store = tmp_path / "runs"
    assert main(["--store", str(store), "--smoke"]) == 0
    assert "nearest to unigram" in capsys.readouterr().out
    assert (tmp_path / "markov_induction.png").is_file()
    metrics = open_store(store).sql("SELECT DISTINCT metric FROM metrics WHERE status = 'ok'")
    assert {("kl.unigram",), ("attention/previous",)} <= set(metrics.fetchall())
