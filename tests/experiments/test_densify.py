import math

import pytest
import torch

from devtrack import open_store
from devtrack.cli._demo_training import P
from experiments.densify import Dated, main, report, unordered_pairs


def test_no_test_pair_is_a_training_pair_turned_round():
    (trained, sums), (test, _) = unordered_pairs(seed=0)
    assert len(trained) + len(test) == P * (P + 1) // 2
    assert torch.equal(sums, trained.sum(dim=1) % P)
    seen = {tuple(sorted(pair)) for pair in trained.tolist()}
    assert not seen & {tuple(sorted(pair)) for pair in test.tolist()}


def test_a_seed_without_a_date_is_told_and_not_counted(capsys):
    undated = Dated("a", [], 31, None)
    assert math.isnan(undated.width)
    report({0: (undated, undated)})
    printed = capsys.readouterr().out
    assert "no transition" in printed
    assert "shrank" not in printed


@pytest.mark.slow
def test_smoke(tmp_path, capsys):
    store = tmp_path / "runs"
    assert main(["--store", str(store), "--smoke"]) == 0
    assert "midpoint of test_accuracy" in capsys.readouterr().out
    assert (tmp_path / "densify-0.png").is_file()
    opened = open_store(store)
    query = "SELECT step, value FROM metrics WHERE run_id = ? AND metric = 'test_accuracy'"
    alone, dense = (
        dict(opened.sql(query, [opened.run(f"densify-0-{which}").run_id]).fetchall())
        for which in ("alone", "monitor")
    )
    assert alone == {step: dense[step] for step in alone}, "one training, seen twice"
