"""The figures of the benchmark table that the scorer does not give."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from experiments.bench.transitions import interval_coverage


def test_coverage_counts_matched_transitions_only():
    rows = [("a", 1.0, 3.0), ("a", 4.0, 5.0), ("b", 0.0, 9.0)]
    predicted = pd.DataFrame(rows, columns=["run", "low", "high"])
    labels = {"a": [{"mid": 2.0}, {"mid": 6.0}], "b": []}
    bench = SimpleNamespace(required=labels.get, position=lambda run, step: step)
    verdicts = {"a": (["tp", "tp"], [0, 1]), "b": (["fp"], [-1])}
    scorer = SimpleNamespace(match_run=lambda rows, bench, run, margin: (None, *verdicts[run]))
    assert interval_coverage(predicted, bench, scorer) == pytest.approx(0.5)
    predicted[["low", "high"]] = np.nan  # a rival that gives no interval
    assert np.isnan(interval_coverage(predicted, bench, scorer))
