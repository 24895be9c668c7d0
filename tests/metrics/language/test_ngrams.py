import math
from collections import Counter, defaultdict

import numpy as np
import pytest
import torch
from torch import nn

from devtrack.errors import ConfigError, DataError
from devtrack.metrics.language.ngrams import NGramScores, continuations, entropy_of
from devtrack.metrics.metric import Subject

VOCABULARY = 5


def _text(seed=0, count=300, length=30):
    """A Markov chain of order 1 with a marked matrix."""
    rng = np.random.default_rng(seed)
    matrix = np.random.default_rng(99).dirichlet(np.full(VOCABULARY, 0.3), size=VOCABULARY)
    text = np.zeros((count, length), dtype=int)
    for t in range(1, length):
        draws = rng.random((count, 1))
        text[:, t] = (matrix[text[:, t - 1]].cumsum(1) < draws).sum(1).clip(max=VOCABULARY - 1)
    return torch.as_tensor(text)


def _counts(text, order):
    following = defaultdict(Counter)
    for row in text.tolist():
        for i in range(len(row) - order + 1):
            following[tuple(row[i : i + order - 1])][row[i + order - 1]] += 1
    return following


class Table(nn.Module):
    """Predicts the empirical n-gram of a text, or the uniform distribution."""

    def __init__(self, text=None, order=2):
        super().__init__()
        self.order = order
        self.following = None if text is None else _counts(text, order)

    def forward(self, tokens):
        logits = torch.zeros(*tokens.shape, VOCABULARY)
        for n, row in enumerate(tokens.tolist() if self.following else []):
            own = self.following[tuple(row[len(row) - self.order + 1 :])]
            for token in range(VOCABULARY):
                logits[n, -1, token] = math.log(own[token] / own.total()) if own[token] else -1e4
        return logits


def _rows(model, text, **options):
    subject = Subject(model, 0, [text], lambda m, b: torch.tensor(0.0), torch.Generator())
    return {r.metric: r for r in NGramScores(**options).compute(subject)}


@pytest.mark.parametrize("order", [1, 2, 3])
def test_a_model_that_is_the_ngram_is_at_the_floor_and_uniform_is_at_ln_v(order):
    text = _text()
    name = f"ngram/{order}gram"
    row = _rows(Table(text, order), text, orders=(order,))[name]
    assert row.value == pytest.approx(row.attrs["floor"], rel=1e-5)
    uniform = _rows(Table(), text, orders=(order,))[name]
    assert uniform.value == pytest.approx(math.log(VOCABULARY), rel=1e-9)
    assert uniform.se == pytest.approx(0.0, abs=1e-9)


def test_the_unigram_rises_when_the_bigram_is_learned():
    text = _text()
    before, after = _rows(Table(text, 1), text), _rows(Table(text, 2), text)
    assert after["ngram/2gram"].value < before["ngram/2gram"].value - 0.1
    assert after["ngram/1gram"].value > before["ngram/1gram"].value + 0.1


@pytest.mark.parametrize("order", [1, 2, 3])
def test_counts_are_the_naive_ones(order):
    text = _text(count=20, length=9)
    found = continuations([text[:8], text[8:]], order, 40, torch.Generator().manual_seed(0))
    naive = _counts(text, order)
    entropies = []
    for index, context in enumerate(found.contexts.tolist()):
        own = naive[tuple(context) if order > 1 else ()]
        mine = found.owner == index
        entries = zip(found.tokens[mine].tolist(), found.counts[mine].tolist())
        assert dict(entries) == dict(own)
        p = np.array(list(own.values())) / own.total()
        entropies.append(-(p * np.log(p)).sum())
    assert entropy_of(found) == pytest.approx(np.mean(entropies), rel=1e-9)


def test_contexts_are_drawn_as_often_as_they_occur():
    text = _text()
    found = continuations([text], 2, 4000, torch.Generator().manual_seed(0))
    share = torch.bincount(found.contexts[:, 0], minlength=VOCABULARY) / 4000
    truth = torch.bincount(text[:, :-1].reshape(-1), minlength=VOCABULARY) / text[:, :-1].numel()
    torch.testing.assert_close(share, truth, atol=3 * 0.5 / math.sqrt(4000), rtol=0)


def test_the_error_is_that_of_the_choice_of_contexts():
    text = _text()
    model = Table(text, 1)
    rows = [
        _rows(model, text, orders=(2,), num_contexts=64, seed=seed)["ngram/2gram"]
        for seed in range(60)
    ]
    spread = np.std([row.value for row in rows])
    # 60 draws: the spread is known to 9 %; three of those
    assert np.mean([row.se for row in rows]) == pytest.approx(spread, rel=0.3)


def test_contexts_stay_the_same_along_a_run():
    text = _text()
    subject = Subject(Table(), 0, [text], lambda m, b: torch.tensor(0.0), torch.Generator())
    metric, seen = NGramScores(orders=(2,), logits=lambda m, t: seen.append(t) or m(t)), []
    for _ in range(2):
        list(metric.compute(subject))
    half = len(seen) // 2
    assert all(torch.equal(a, b) for a, b in zip(seen[:half], seen[half:], strict=True))


def test_errors_say_given_allowed_next():
    with pytest.raises(ConfigError, match=r"orders=\[0\].*Use orders=\(1, 2, 3\)"):
        NGramScores(orders=(0,))
    with pytest.raises(
        DataError, match="sequences of 2 tokens: n-grams of order 3 need at least 3"
    ):
        _rows(Table(), torch.zeros(4, 2, dtype=torch.long))
