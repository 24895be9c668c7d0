import pytest
import torch

from devtrack import open_store
from devtrack.cli import _demo_training as demo


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(demo, "MAX_STEPS", 12)
    monkeypatch.setattr(demo, "STEPS_PER_EPOCH", 6)


def test_it_leaves_a_run_a_picture_and_an_account(tmp_path, short):
    seen, state = [], torch.random.get_rng_state()
    out = tmp_path / "pictures" / "timeline.png"
    result = demo.run_demo(
        tmp_path / "runs", out=out, progress=lambda done, planned, words: seen.append(done)
    )
    assert seen == [6, 12]
    assert result.picture.read_bytes().startswith(b"\x89PNG")
    store = open_store(result.store)
    query = "SELECT DISTINCT metric FROM metrics WHERE status = 'ok'"
    metrics = {metric for (metric,) in store.sql(query).fetchall()}
    assert {"llc", "test_accuracy", "probe/upper_half/selectivity"} <= metrics
    assert "observations" in result.cost
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_pairs_are_split_without_overlap():
    (train, sums), (test, _) = demo.all_pairs(seed=0)
    pairs = {tuple(p) for p in torch.cat([train, test]).tolist()}
    assert len(pairs) == demo.P**2 == len(train) + len(test)
    assert torch.equal((train[:, 0] + train[:, 1]) % demo.P, sums)


@pytest.mark.slow
def test_the_grokking_transition_is_found(tmp_path):
    """Planted truth: test accuracy passes the middle of its second rise, .38 to 1, at ~700."""
    result = demo.run_demo(tmp_path / "runs", out=tmp_path / "a.png")
    query = "SELECT step, value FROM metrics WHERE metric = 'test_accuracy' ORDER BY step"
    crossing = next(s for s, v in open_store(result.store).sql(query).fetchall() if v > 0.69)
    moves = [m for t in result.transitions for m in t.moves if m.metric == "test_accuracy"]
    assert any(m.direction == "up" and 0.7 < m.midpoint / crossing < 1.4 for m in moves)
    assert len(result.transitions) <= 5
