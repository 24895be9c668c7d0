"""The bench of step sizes found early, on one short training."""

import pytest

from devtrack import LLC
from experiments.bench import llc_late


def test_a_step_size_found_before_training_serves_after_it(monkeypatch):
    monkeypatch.setattr(llc_late, "TRAINING_STEPS", 20)
    training = llc_late.trainings()[2]
    (early,) = llc_late.measure(training, LLC(num_draws=20), [0])
    llc_late.train(training)
    late = llc_late.measure(training, LLC(num_draws=20, lr=early.attrs["lr"]), [0, 1])
    assert [row.attrs["lr"] for row in late] == 2 * [early.attrs["lr"]]
    assert len({row.value for row in (early, *late)}) == 3


def test_an_excess_has_the_error_of_both_means():
    assert llc_late._excess([10.0, 12.0], [9.0, 11.0]) == "+10.0% ± 14.1%"


def test_trainings_differ_by_data_and_start():
    first, second, *_ = llc_late.trainings()
    assert len(first.batches) == 1 and len(second.batches) == 8
    assert first.loss(first.model, first.batches[0]).item() == pytest.approx(0.69, abs=0.1)
