"""The metrics that sample by devinterp, on a model of transformers, as a tracker runs them."""

import random
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional
from transformers import GPT2Config, GPT2LMHeadModel

from devtrack import BayesianInfluence, Row, Status, Susceptibility
from devtrack.model_state._private_copy import private_copy
from devtrack.tracking._evaluate import evaluate

VOCABULARY = 16
FEW = {"num_chains": 2, "num_draws": 12, "num_burnin_steps": 2, "batch_size": 8, "n_beta": 30.0}


def _loss(model, tokens):
    logits = model(tokens).logits[:, :-1]
    return functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())


@pytest.fixture
def gpt2():
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=VOCABULARY,
        n_positions=16,
        n_embd=16,
        n_layer=2,
        n_head=2,
        bos_token_id=0,
        eos_token_id=0,
    )
    return GPT2LMHeadModel(config)


def test_language_metrics_leave_a_transformer_unchanged(gpt2, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    tokens = torch.randint(VOCABULARY, (16, 10))
    other = (torch.randint(VOCABULARY, (8, 10)),)
    metrics = [
        Susceptibility(sites="*.1.attn", num_heads=2, perturbation_data={"other": other}, **FEW),
        BayesianInfluence(query_data={"other": other}, num_examples=2, **FEW),
    ]
    before = {name: value.clone() for name, value in gpt2.state_dict().items()}
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    options = {"step": 0, "batches": [tokens], "loss": _loss}
    records = evaluate(metrics, model=private_copy(gpt2), **options).records
    again = evaluate(metrics, model=private_copy(gpt2), **options).records
    assert list(Path(tmp_path).iterdir()) == []
    assert torch.equal(states[0], torch.get_rng_state())
    np.testing.assert_equal(states[1:], (np.random.get_state(), random.getstate()))
    assert gpt2.training
    assert all(torch.equal(before[name], value) for name, value in gpt2.state_dict().items())
    assert [(row.metric, row.site) for row in records if isinstance(row, Row)] == [
        *[("susceptibility/other", f"transformer.h.1.attn.head.{head}") for head in range(2)],
        *[("influence/other", f"example.{i}") for i in range(2)],
    ]
    for row, repeated in zip(records, again, strict=True):
        assert isinstance(row, Row)
        assert row.status is not Status.FAILED, row.attrs
        assert row.se > 0
        assert repr(row) == repr(repeated)
