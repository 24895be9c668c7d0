"""All metrics side by side on one transformer, as a tracker runs them."""

import json
from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.nn import functional

import devtrack
from devtrack import (
    CKA,
    Ablation,
    ActivationPatching,
    AnomalyRate,
    BehaviorSuite,
    ConceptDirection,
    Dimensionality,
    HeadComposition,
    HeadScores,
    InContextLoss,
    LinearProbe,
    NGramScores,
    RegressionProbe,
    Row,
    Status,
    UnitActivity,
    WeightSpectrum,
)
from devtrack.metrics.metric import Metric
from devtrack.model_state._private_copy import private_copy
from devtrack.store._provenance import describe
from devtrack.tracking._evaluate import evaluate

VOCABULARY, WIDTH, HEADS = 20, 16, 2


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.attn = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 24), nn.ReLU(), nn.Linear(24, WIDTH))

    def forward(self, x):
        mask = torch.ones(x.shape[1], x.shape[1]).triu(1).bool()
        x = x + self.attn(x, x, x, attn_mask=mask, need_weights=False)[0]
        return x + self.mlp(x)


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, WIDTH)
        self.place = nn.Embedding(32, WIDTH)
        self.blocks = nn.Sequential(Block(), Block())
        self.unembed = nn.Linear(WIDTH, VOCABULARY)

    def forward(self, tokens):
        x = self.embed(tokens) + self.place(torch.arange(tokens.shape[1]))
        return self.unembed(self.blocks(x))


def _loss(model, batch):
    tokens = batch[0] if isinstance(batch, tuple | list) else batch
    logits = model(tokens)[:, :-1]
    return functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())


def _judge(model, examples):
    last = model(torch.tensor([e.input for e in examples]))[:, -1].argmax(-1)
    return last == torch.tensor([e.expected for e in examples])


def _metrics(path, tokens):
    even = lambda batch: batch[0] % 2 == 0  # noqa: E731
    return [
        Dimensionality(sites=("blocks.*.mlp",)),
        UnitActivity(sites=("blocks.*.mlp.1",)),
        CKA(sites=("blocks.?",)),
        WeightSpectrum(sites=("blocks.*",)),
        HeadScores(vocabulary=VOCABULARY, length=8),
        HeadComposition(),
        BehaviorSuite(path, _judge),
        InContextLoss(early=2, late=10),
        NGramScores(),
        Ablation(sites=("blocks.*.attn",), kind="zero"),
        Ablation(sites=("blocks.*.mlp",), kind="resample"),
        ActivationPatching(
            sites=("blocks.?",),
            effect=lambda model, inputs, batch: model(inputs)[:, -1, 0],
            data=(tokens, tokens.flip(1)),
        ),
        AnomalyRate(sites=("blocks.?",), trusted_data=(tokens,), data=(tokens.flip(1),)),
        RegressionProbe(site="blocks.0", labels=lambda b: b[0].float(), name="token"),
        LinearProbe(
            site="blocks.0", labels=lambda b: b[0] % 2, name="parity", description_length=True
        ),
        ConceptDirection(site="blocks.0", labels=even, name="even"),
    ]


@pytest.fixture
def observed(tmp_path):
    """Two snapshots of a model that nothing else touches, and what was seen of each."""
    path = tmp_path / "suite.jsonl"
    path.write_text(json.dumps({"input": [1, 2, 3], "expected": 4, "group": "count"}))
    torch.manual_seed(0)
    model = Transformer()
    tokens = torch.randint(VOCABULARY, (48, 16))
    metrics = _metrics(path, tokens)

    def observe(steps, cache):
        found = []
        for step in steps:
            copy = private_copy(model)
            with torch.no_grad():
                for parameter in copy.parameters():
                    parameter.add_(0.01 * step)
            found.append(
                evaluate(
                    metrics,
                    model=copy,
                    step=step,
                    batches=[(tokens[:24],), (tokens[24:],)],
                    loss=_loss,
                    cache=cache,
                ).records
            )
        return found

    return metrics, observe


def test_every_metric_gives_numbers_side_by_side(observed):
    metrics, observe = observed
    before = torch.get_rng_state()
    first, second = observe([0, 3], {})
    assert torch.equal(torch.get_rng_state(), before)
    for records in (first, second):
        assert [(r.metric, r.attrs) for r in records if r.status is Status.FAILED] == []
        keys = [(row.metric, row.site) for row in records]
        assert len(set(keys)) == len(keys)
        for row in records:
            assert isinstance(row, Row)
            json.dumps(row.attrs, allow_nan=False)
    for metric in metrics:
        assert isinstance(metric, Metric)
        json.dumps(describe(metric))
    more = {row.metric for row in second} - {row.metric for row in first}
    assert more == {"cka_previous", "concept/even/cosine_previous"}


def test_a_measurement_can_be_repeated_to_the_bit(observed):
    _, observe = observed
    once, again = observe([0, 3], {}), observe([0, 3], {})
    for a, b in zip(once[0] + once[1], again[0] + again[1], strict=True):
        assert (a.metric, a.site, repr(a.value), repr(a.se)) == (
            b.metric,
            b.site,
            repr(b.value),
            repr(b.se),
        )


@dataclass
class NotAMetric:
    name: str = "x"


def test_what_has_no_compute_is_no_metric():
    assert not isinstance(NotAMetric(), Metric)
    assert isinstance(devtrack.Loss(), Metric)
