import pytest
import torch

from devtrack import open_store
from devtrack.cli._demo_training import P, all_pairs
from experiments.grokking import Progress, grid, main


def test_the_grid_holds_every_pair_in_the_order_that_progress_counts_on():
    pairs = grid()
    assert torch.equal(pairs[:, 0] * P + pairs[:, 1], torch.arange(P * P))
    trained, _ = all_pairs(seed=0)
    chosen = Progress([1], trained[0])._trained
    assert torch.equal(pairs[chosen], trained[0])


@pytest.mark.slow
def test_smoke(tmp_path, capsys):
    store = tmp_path / "runs"
    assert main(["--store", str(store), "--smoke"]) == 0
    assert "half-way steps by seed" in capsys.readouterr().out
    assert (tmp_path / "grokking.png").is_file()
    query = """
        SELECT count(*), count(DISTINCT step), (SELECT count(DISTINCT step) FROM snapshots)
        FROM metrics WHERE metric = 'restricted_loss' AND status = 'ok'
    """
    ((rows, steps, snapshots),) = open_store(store).sql(query).fetchall()
    assert rows == steps == snapshots, "measured once on every snapshot, after training"
