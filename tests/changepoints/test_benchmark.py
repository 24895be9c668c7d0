"""The detector on the labelled benchmark beside the checkout, by its own scorer."""

import importlib.util
from pathlib import Path

import pandas as pd
import pytest

from experiments.bench.transitions import COLUMNS, devtrack_detector, read_runs

SHARED = Path(__file__).resolve().parents[3] / "shared" / "transitions"
pytestmark = pytest.mark.skipif(not SHARED.exists(), reason="no benchmark beside the checkout")


def test_it_holds_on_the_public_part():
    """Measured 2026-11: F1 .940, no alarm in a quiet run; the floors leave room for platforms."""
    spec = importlib.util.spec_from_file_location("score", SHARED / "score.py")
    scorer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(scorer)
    rows = [
        {"run": run, **found}
        for run, content in read_runs(SHARED).items()
        for found in devtrack_detector(content)
    ]
    figures = scorer.score(
        pd.DataFrame(rows, columns=COLUMNS), scorer.Benchmark(SHARED), sweep=False, n_boot=1
    )
    assert figures["f1"] >= 0.90
    assert figures["negative"]["false_alarms_per_run"] <= 0.05
    assert figures["recall_by_kind"]["critical"] >= 0.9
    assert figures["location_error_median"] <= 0.004
