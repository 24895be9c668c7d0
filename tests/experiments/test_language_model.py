import re
from datetime import datetime

import pytest
import torch

from devtrack import open_store
from devtrack.records import Row, RunInfo, TrainingProgress
from experiments.attention_only import Attention, AttentionOnly, sines
from experiments.language_model import PRESETS, main, read_texts
from experiments.stages import dates

SMOKE = PRESETS["smoke"]
WHEN = datetime(2026, 11, 21)


def test_what_comes_later_changes_nothing_before():
    torch.manual_seed(0)
    model = AttentionOnly(20, 16, 8, 2)
    tokens = torch.randint(20, (3, 16))
    other = tokens.clone()
    other[:, 10:] = (other[:, 10:] + 1) % 20
    torch.testing.assert_close(model(tokens)[:, :10], model(other)[:, :10])
    assert not torch.allclose(model(tokens)[:, 10:], model(other)[:, 10:])


def test_queries_and_keys_know_positions_and_values_do_not():
    torch.manual_seed(0)
    layer, x = Attention(8, 2), torch.randn(1, 4, 8)
    position, nowhere = sines(4, 8), torch.zeros(4, 8)
    swapped = x[:, [1, 0, 2, 3]]
    assert not torch.allclose(layer(x, position)[:, -1], layer(swapped, position)[:, -1], atol=1e-3)
    torch.testing.assert_close(layer(x, nowhere)[:, -1], layer(swapped, nowhere)[:, -1])
    with torch.no_grad():
        layer.qkv.weight[:16] = 0  # of queries and keys
    torch.testing.assert_close(layer(x, position), layer(x, nowhere))


def test_the_loss_is_that_of_the_next_token():
    torch.manual_seed(0)
    model = AttentionOnly(20, 16, 8, 2)
    tokens = torch.randint(20, (3, 16))
    told = model(tokens).log_softmax(-1)
    naive = [-told[i, t, tokens[i, t + 1]] for i in range(3) for t in range(15)]
    torch.testing.assert_close(model.training_step(tokens, 0), torch.stack(naive).mean())


def test_test_windows_are_of_files_that_training_does_not_read():
    texts = read_texts(SMOKE, seed=0)
    grams = {tuple(g) for g in texts.train.unfold(0, 12, 1).tolist()}
    test = [tuple(g) for g in texts.test.unfold(1, 12, 1).flatten(0, 1).tolist()]
    # licences and idioms recur from file to file, whole windows do not
    assert sum(g in grams for g in test) / len(test) < 0.1
    assert texts.mixed.shape == (SMOKE.evaluated // 2, SMOKE.context)
    assert not torch.equal(texts.mixed, read_texts(SMOKE, seed=1).mixed)


def test_a_batch_is_the_same_for_the_same_seed_only():
    text = torch.arange(1000)
    assert torch.equal(SMOKE.batch(text, 3), SMOKE.batch(text, 3))
    assert not torch.equal(SMOKE.batch(text, 3), SMOKE.batch(text, 4))


def test_heads_are_dated_by_the_one_that_is_best_in_the_end(tmp_path):
    store = open_store(tmp_path / "runs", create=True)
    writer = store.writer(RunInfo("s-1", "s", WHEN))
    for step in range(1, 101):
        rows = [Row("ngram/2gram", 5.0 - (step > 10)), Row("ngram/3gram", 5.0 - (step > 20))]
        for metric, early, late in (("previous_token", 0, 1), ("prefix_matching", 1, 0)):
            site = "attn.{}.head.{}"
            rows.append(Row(f"head/{metric}", 0.9 * (step > 60), site=site.format(0, late)))
            rows.append(Row(f"head/{metric}", 0.5 * (step > 30), site=site.format(1, early)))
        rows += [Row("random_repeated/icl_score", 0.0), Row("context/icl_score", 0.0)]
        writer.append(TrainingProgress(step), [*rows, Row("test_loss", 6.0 - (step > 15))])
    writer.close()
    found = dates(str(store.path), "s-1")
    assert found["bigram score"] == pytest.approx(10.5, abs=0.1)
    assert found["previous-token score"] == pytest.approx(60.5, abs=0.1)
    assert found["prefix-matching score"] == pytest.approx(60.5, abs=0.1)
    assert found["loss on text"] == pytest.approx(15.5, abs=0.1)


@pytest.mark.slow
def test_smoke(tmp_path, capsys):
    store = tmp_path / "runs"
    assert main(["--store", str(store), "--smoke", "--seeds", "2"]) == 0
    printed = capsys.readouterr().out
    assert "stages, at the snapshots" in printed
    assert re.search("half-way steps by seed\nmeasure +seed 0 +seed 1", printed)
    assert (tmp_path / "language_model.png").is_file()
    query = """
        SELECT run_id LIKE 'language_model-_-%' AS light, metric,
               count(DISTINCT step), count(DISTINCT site), max(step)
        FROM metrics WHERE metric IN ('llc', 'rllc', 'head/prefix_matching', 'loss')
        GROUP BY ALL
    """
    found = {row[:2]: row[2:] for row in open_store(store).sql(query).fetchall()}
    steps, _, last = found[False, "loss"]
    assert found[False, "llc"] == (steps, 1, last)
    assert found[False, "rllc"] == (-(-steps // 3), 4, last), "every third, the last among them"
    assert found[True, "head/prefix_matching"] == (steps, 4, last)
    assert (True, "llc") not in found
