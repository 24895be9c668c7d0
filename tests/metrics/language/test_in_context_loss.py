import math

import pytest
import torch
from torch import nn

from devtrack.errors import ConfigError, MetricError
from devtrack.metrics.language.in_context_loss import InContextLoss, position_losses
from devtrack.metrics.metric import Subject

VOCABULARY = 7


class Copycat(nn.Module):
    """Knows nothing about the first ``blind`` tokens and repeats the last one after that."""

    def __init__(self, blind=0, confidence=5.0):
        super().__init__()
        self.blind, self.confidence = blind, confidence

    def forward(self, tokens):
        logits = self.confidence * nn.functional.one_hot(tokens, VOCABULARY).float()
        logits[:, : self.blind] = 0
        return logits


def _rows(model, tokens, **options):
    subject = Subject(model, 0, [tokens], lambda m, b: torch.tensor(0.0), torch.Generator())
    return {
        r.metric: r for r in InContextLoss(**{"early": 2, "late": 8} | options).compute(subject)
    }


def test_a_planted_gain_is_the_score():
    """Constant sequences: ln 7 while blind, the copy's loss after that."""
    rows = _rows(Copycat(blind=4), torch.ones(6, 10, dtype=torch.long), positions=(4, 5))
    copied = math.log(math.exp(5) + 6) - 5
    assert rows["context/position_4"].value == pytest.approx(math.log(7), rel=1e-5)
    assert rows["context/position_5"].value == pytest.approx(copied, rel=1e-4)
    assert rows["context/icl_score"].value == pytest.approx(copied - math.log(7), rel=1e-5)
    assert rows["context/icl_score"].se == pytest.approx(0.0, abs=1e-6)


def test_without_gain_the_score_is_zero_within_its_error():
    tokens = torch.randint(VOCABULARY, (500, 10), generator=torch.Generator().manual_seed(0))
    row = _rows(Copycat(), tokens)["context/icl_score"]
    assert 0 < abs(row.value) < 3 * row.se < 0.5


def test_losses_are_the_naive_ones_and_the_error_is_paired():
    tokens = torch.randint(VOCABULARY, (20, 10), generator=torch.Generator().manual_seed(1))
    model = Copycat()
    naive = torch.zeros(20, 9)
    for n in range(20):
        for t in range(9):
            naive[n, t] = -model(tokens)[n, t].log_softmax(-1)[tokens[n, t + 1]]
    torch.testing.assert_close(position_losses(model, tokens), naive)
    gain = (naive[:, 7] - naive[:, 1]).double()  # losses given 8 and 2 tokens
    row = _rows(model, tokens)["context/icl_score"]
    assert row.value == pytest.approx(float(gain.mean()), rel=1e-5)
    assert row.se == pytest.approx(float(gain.std()) / math.sqrt(20), rel=1e-5)


def test_tokens_are_found_in_dicts_and_tuples_and_logits_in_outputs():
    class Output:
        def __init__(self, logits):
            self.logits = logits

    class HuggingFaceLike(Copycat):
        def forward(self, tokens):
            return Output(super().forward(tokens))

    tokens = torch.randint(VOCABULARY, (4, 10))
    expected = _rows(Copycat(), tokens)
    assert _rows(HuggingFaceLike(), {"input_ids": tokens}) == expected
    assert _rows(Copycat(), (tokens, tokens)) == expected


def test_errors_say_given_allowed_next():
    with pytest.raises(ConfigError, match="early=5, late=5.*Use early=50, late=500"):
        InContextLoss(early=5, late=5)
    with pytest.raises(MetricError, match="position 8 in sequences of 8 tokens: must be at most 7"):
        _rows(Copycat(), torch.ones(2, 8, dtype=torch.long))
    with pytest.raises(MetricError, match=r"logits of shape \(2, 10\).*Pass logits="):
        _rows(Copycat(), torch.ones(2, 10, dtype=torch.long), logits=lambda m, t: t.float())
