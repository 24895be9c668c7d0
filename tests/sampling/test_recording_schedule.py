"""How often chains are evaluated, and on how many batches."""

import pytest

from devtrack.sampling._recording_schedule import plan_recording
from devtrack.sampling.config import SamplerConfig


def _plan(num_batches, *, may_stop=False, **config):
    sizes = {"num_draws": 200, "num_burnin_steps": 100} | config
    return plan_recording(SamplerConfig(**sizes), num_batches=num_batches, may_stop=may_stop)


@pytest.mark.parametrize(("num_batches", "num_evaluations"), [(2, 100), (16, 13), (25, 8)])
def test_full_data_evaluations_come_after_whole_orders(num_batches, num_evaluations):
    schedule = _plan(num_batches, evaluate_on="full_data")
    assert schedule.full_batches == num_batches
    assert len(schedule.evaluations) == num_evaluations
    assert schedule.evaluations[-1] == 300
    assert all((step - 100) % num_batches == 0 for step in schedule.evaluations[:-1])
    assert 100 < schedule.evaluations[0] == 100 + num_batches


def test_there_are_always_some_full_data_evaluations():
    assert len(_plan(1000, evaluate_on="full_data").evaluations) == 8
    assert len(_plan(1000, evaluate_on="full_data", num_draws=5).evaluations) == 5


@pytest.mark.parametrize("may_stop", [False, True])
def test_one_batch_is_measured_at_every_draw_anyway(may_stop):
    on_full_data = _plan(1, evaluate_on="full_data", may_stop=may_stop)
    assert on_full_data == _plan(1, evaluate_on="minibatch", may_stop=may_stop)


@pytest.mark.parametrize(
    ("num_batches", "evaluations", "full_batches"),
    [(2, 25, 2), (3, 18, 3), (16, 14, 4), (1000, 14, 4)],
)
def test_other_evaluations_are_few_and_cheap(num_batches, evaluations, full_batches):
    schedule = _plan(num_batches)
    assert (len(schedule.evaluations), schedule.full_batches) == (evaluations, full_batches)
    assert evaluations * full_batches / 3 <= 0.07 * 300  # a forward is a third of a step; rounded


def test_evaluations_use_enough_batches_for_early_stopping():
    schedule = _plan(16, num_draws=4000, num_burnin_steps=100, may_stop=True)
    assert schedule.evaluations[:3] == [110, 120, 130]
    assert schedule.full_batches == 4
    assert sorted(schedule.evaluations[number - 1] for number in schedule.stop_checks)[:3] == [
        200,
        230,
        270,
    ]


def test_short_chains_have_enough_evaluations():
    schedule = _plan(16, num_draws=30, num_burnin_steps=10)
    assert (len(schedule.evaluations), schedule.full_batches) == (10, 2)
