"""The figures of the benchmark table that the scorer does not give."""

import numpy as np
import pandas as pd
import pytest

from experiments.bench.labelled_runs import Benchmark, Label
from experiments.bench.transitions import interval_coverage


def test_coverage_counts_matched_transitions_only():
    rows = [("a", 20.0, 10.0, 30.0), ("a", 60.0, 40.0, 50.0), ("b", 50.0, 0.0, 90.0)]
    predicted = pd.DataFrame(rows, columns=["run", "step", "low", "high"])
    benchmark = Benchmark(
        runs=pd.DataFrame({"axis": "linear"}, index=["a", "b"]),
        steps={run: np.arange(101.0) for run in "ab"},
        labels={"a": [Label(u, u, u, "step", 9.0, frozenset()) for u in (0.2, 0.6)], "b": []},
    )
    assert interval_coverage(predicted, benchmark) == pytest.approx(0.5)
    predicted[["low", "high"]] = np.nan  # a rival that gives no interval
    assert np.isnan(interval_coverage(predicted, benchmark))
