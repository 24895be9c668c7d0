import json
import math

import pytest
import torch
from torch import nn

from devtrack.errors import ConfigError, MetricError
from devtrack.metrics._proportions import binomial_se
from devtrack.metrics.behavior import BehaviorSuite
from devtrack.metrics.metric import Subject
from devtrack.store._provenance import describe


def _file(tmp_path, entries, name="suite.jsonl"):
    path = tmp_path / name
    path.write_text("\n".join(e if isinstance(e, str) else json.dumps(e) for e in entries))
    return path


def _suite(tmp_path):
    adds = [{"input": [a, 2], "expected": a + 2, "group": "add"} for a in range(10)]
    mults = [{"input": [a, 2], "expected": a * 2, "group": "mult", "note": 1} for a in range(10)]
    return _file(tmp_path, [*adds, "", *mults])


def _judge(model, examples):
    x = torch.tensor([e.input for e in examples]).float()
    return model(x).squeeze(1).round() == torch.tensor([e.expected for e in examples])


def _rows(metric):
    model = nn.Linear(2, 1, bias=False).eval()
    with torch.no_grad():
        model.weight.fill_(1.0)  # it adds
    subject = Subject(model, 0, [], lambda m, b: torch.tensor(0.0), torch.Generator())
    found = list(metric.compute(subject))
    assert len({row.metric for row in found}) == len(found)
    return {row.metric: row for row in found}


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_a_model_that_adds_can_add_and_cannot_multiply(tmp_path, batch_size):
    rows = _rows(BehaviorSuite(_suite(tmp_path), _judge, batch_size=batch_size))
    assert rows["behavior/add"].value == 1.0
    assert rows["behavior/mult"].value == 0.1  # 2 + 2 = 2 · 2
    assert rows["behavior/all"].value == pytest.approx(0.55)
    assert rows["behavior/add"].se == binomial_se(1.0, 10)
    assert rows["behavior/all"].attrs["num_examples"] == 20


def test_scores_have_the_error_of_a_mean(tmp_path):
    path = _file(tmp_path, [{"input": x, "expected": 0} for x in (0.0, 0.5, 0.75)])
    rows = _rows(BehaviorSuite(path, lambda m, examples: [e.input for e in examples]))
    assert set(rows) == {"behavior/all"}
    each = torch.tensor([0.0, 0.5, 0.75]).double()
    assert rows["behavior/all"].value == pytest.approx(float(each.mean()))
    assert rows["behavior/all"].se == pytest.approx(float(each.std()) / math.sqrt(3))


def test_the_runs_record_holds_the_hash_and_not_the_suite(tmp_path):
    told = describe(BehaviorSuite(_suite(tmp_path), _judge))
    other = describe(BehaviorSuite(_file(tmp_path, [{"input": 1, "expected": 1}], "b"), _judge))
    assert len(told["sha256"]) == 64
    assert told["sha256"] != other["sha256"]
    assert json.loads(json.dumps(told)) == told
    assert len(json.dumps(told)) < 500


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (["{"], r"suite.jsonl, line 1: is not JSON .*Write lines such as"),
        ([{"input": 1, "expected": 1}, {"input": 1}], "line 2: must be an object with 'input' and"),
        ([""], "holds no example"),
    ],
)
def test_a_wrong_file_is_refused_at_the_door(tmp_path, entries, message):
    with pytest.raises(ConfigError, match=message):
        BehaviorSuite(_file(tmp_path, entries), _judge)


def test_a_missing_file_and_a_wrong_size_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere.jsonl: cannot be read"):
        BehaviorSuite(tmp_path / "nowhere.jsonl", _judge)
    with pytest.raises(ConfigError, match="batch_size=0"):
        BehaviorSuite(_suite(tmp_path), _judge, batch_size=0)


@pytest.mark.parametrize("verdicts", [[True], [2.0] * 20, [math.nan] * 20])
def test_a_wrong_verdict_is_told(tmp_path, verdicts):
    metric = BehaviorSuite(_suite(tmp_path), lambda m, examples: verdicts)
    with pytest.raises(MetricError, match="judge returned .* for 20 examples: must be one boolean"):
        _rows(metric)
