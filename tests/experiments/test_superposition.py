from datetime import datetime

import numpy as np
import pytest

from devtrack import open_store
from devtrack.records import Row, RunInfo, Status, TrainingProgress
from experiments.polygons import Polygon
from experiments.superposition import main, plateaus


def test_stays_are_told_by_geometry_and_loss_and_only_trusted_estimates_are_averaged(tmp_path):
    five, plus = Polygon(5, 0, 6), Polygon(5, 1, 6)
    story = [
        (five, 1.5 * five.loss, 1.0, "ok"),  # five vertices, but not at the pentagon yet
        (five, 1.01 * five.loss, 6.0, "ok"),
        (five, five.loss, 8.0, "ok"),
        (five, five.loss, -90.0, "suspect"),
        (plus, plus.loss, 8.4, "ok"),
    ]
    store = open_store(tmp_path / "runs", create=True)
    writer = store.writer(RunInfo("s-1", "s", datetime(2026, 11, 21)))
    for step, (polygon, loss, llc, status) in enumerate(story):
        rows = [Row("loss", loss), Row("llc", llc, 0.1, status=Status(status))]
        rows.append(Row("polygon/vertices", polygon.vertices))
        rows.append(Row("polygon/positive_biases", polygon.positive))
        writer.append(TrainingProgress(step), rows)
    writer.close()
    found = plateaus(str(store.path), "s-1")
    assert [(p.polygon, p.first, p.last, p.trusted) for p in found] == [
        (five, 1, 3, "2/3"),
        (plus, 4, 4, "1/1"),
    ]
    np.testing.assert_allclose([p.llc for p in found], [7.0, 8.4])
    assert found[0].se == pytest.approx(0.1 / 2**0.5)


@pytest.mark.slow
def test_smoke(tmp_path, capsys):
    store = tmp_path / "runs"
    assert main(["--store", str(store), "--smoke"]) == 0
    assert "stays at a k-gon" in capsys.readouterr().out
    assert (tmp_path / "superposition-0.png").is_file()
    loss = open_store(store).sql("SELECT value FROM metrics WHERE metric = 'loss' ORDER BY step")
    values = [value for (value,) in loss.fetchall()]
    assert values == sorted(values, reverse=True), "gradient descent goes down"
