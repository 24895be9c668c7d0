import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from devtrack.errors import ConfigError, MetricError
from devtrack.metrics.attention.head_scores import HeadScores, repeated_sequences, repetition_scores
from devtrack.metrics.metric import Subject


class Planted(nn.Module):
    """Heads by definition: 0 previous token, 1 uniform, 2 induction, 3 duplicate token."""

    def __init__(self):
        super().__init__()
        self.attn = nn.Identity()

    def forward(self, tokens):
        n, t = tokens.shape
        scores = torch.zeros(n, 4, t, t)
        for sample in range(n):
            for q in range(t):
                scores[sample, 0, q, max(q - 1, 0)] = 100
                for k in range(q):
                    if tokens[sample, k] == tokens[sample, q]:
                        scores[sample, 2, q, k + 1] = 100
                        scores[sample, 3, q, k] = 100
        causal = torch.ones(t, t).triu(1).bool()
        return functional.softmax(scores.masked_fill(causal, -math.inf), dim=-1)


def _rows(model=None, batches=None, **options):
    batches = [torch.arange(24).reshape(2, 12)] if batches is None else batches
    subject = Subject(model or Planted(), 0, batches, lambda m, b: m(b).sum(), torch.Generator())
    found = HeadScores(**options).compute(subject)
    return {(row.site, row.metric.rpartition("/")[2]): row for row in found}


def test_planted_heads_score_one_and_the_uniform_head_what_attrs_say():
    rows = _rows(vocabulary=50, length=8, num_sequences=4)
    value = {key: row.value for key, row in rows.items()}
    assert value["model.head.0", "previous_token"] == pytest.approx(1.0)
    assert value["model.head.0", "entropy"] == pytest.approx(0.0, abs=1e-6)
    assert value["model.head.2", "prefix_matching"] == pytest.approx(1.0)
    assert value["model.head.3", "duplicate_token"] == pytest.approx(1.0)
    assert value["model.head.3", "prefix_matching"] == pytest.approx(0.0, abs=1e-6)
    assert value["model.head.2", "duplicate_token"] == pytest.approx(0.0, abs=1e-6)
    for score in ("previous_token", "entropy", "prefix_matching", "duplicate_token"):
        row = rows["model.head.1", score]
        assert row.value == pytest.approx(row.attrs["uniform"], rel=1e-6)


def test_scores_are_the_naive_means():
    pattern = torch.rand(3, 2, 10, 10, generator=torch.Generator().manual_seed(0)).softmax(-1)
    scores, _ = repetition_scores(pattern, length=5)
    prefix = sum(pattern[:, :, 5 + i, i + 1] for i in range(5)) / 5
    duplicate = sum(pattern[:, :, 5 + i, i] for i in range(5)) / 5
    torch.testing.assert_close(scores["prefix_matching"], prefix.double())
    torch.testing.assert_close(scores["duplicate_token"], duplicate.double())


def test_without_a_vocabulary_there_are_two_rows_a_head():
    rows = _rows()
    assert {score for _, score in rows} == {"previous_token", "entropy"}
    assert {site for site, _ in rows} == {f"model.head.{h}" for h in range(4)}


class Single(nn.Module):
    def forward(self, scores):
        return functional.softmax(scores[:, None], dim=-1)


def test_the_error_is_that_of_the_mean_over_sequences():
    scores = torch.randn(40, 6, 6, generator=torch.Generator().manual_seed(0))
    rows = _rows(Single(), [scores[:25], scores[25:]])
    each = scores.double().softmax(-1).diagonal(-1, -2, -1).mean(-1).numpy()
    row = rows["model.head.0", "previous_token"]
    assert row.value == pytest.approx(each.mean(), rel=1e-5)
    assert row.se == pytest.approx(each.std(ddof=1) / math.sqrt(40), rel=1e-5)
    assert math.isnan(_rows(Single(), [scores[:1]])["model.head.0", "entropy"].se)


def test_attention_to_another_sequence_has_an_entropy_only():
    rows = _rows(Single(), [torch.zeros(2, 3, 5)])
    assert {score for _, score in rows} == {"entropy"}
    assert rows["model.head.0", "entropy"].value == pytest.approx(math.log(5), rel=1e-6)


@pytest.mark.parametrize(("vocabulary", "distinct"), [(100, True), (8, True), (3, False)])
def test_sequences_repeat_themselves_and_nothing_else(vocabulary, distinct):
    tokens = repeated_sequences(vocabulary, 8, 20, seed=0)
    assert torch.equal(tokens[:, :8], tokens[:, 8:])
    assert 0 <= int(tokens.min()) <= int(tokens.max()) < vocabulary
    assert torch.equal(tokens, repeated_sequences(vocabulary, 8, 20, seed=0))
    if distinct:
        assert all(len(np.unique(row[:8])) == 8 for row in tokens.numpy())


def test_errors_say_given_allowed_next():
    with pytest.raises(ConfigError, match="length=1: must be at least 2"):
        HeadScores(length=1)
    with pytest.raises(MetricError, match="of 17 queries and 17 keys for sequences of 16"):
        longer = lambda model, tokens: model(functional.pad(tokens, (1, 0)))  # noqa: E731
        _rows(vocabulary=50, length=8, forward=longer)
    with pytest.raises(MetricError, match="site 'attn': no attention pattern"):
        _rows(sites=("attn",))
