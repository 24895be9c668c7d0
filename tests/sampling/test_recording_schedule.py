"""How often chains are looked at, and how closely."""

import pytest

from devtrack.sampling._recording_schedule import plan
from devtrack.sampling.config import SamplerSettings


def _plan(num_batches, *, may_stop=False, **settings):
    sizes = {"num_draws": 200, "num_burnin_steps": 100} | settings
    return plan(SamplerSettings(**sizes), num_batches=num_batches, may_stop=may_stop)


@pytest.mark.parametrize(("num_batches", "num_looks"), [(2, 100), (16, 13), (25, 8)])
def test_looks_that_measure_see_all_batches_whenever_all_have_been_stepped_on(
    num_batches, num_looks
):
    pace = _plan(num_batches, evaluate_on="full_data")
    assert pace.full_batches == num_batches
    assert len(pace.looks) == num_looks
    assert pace.looks[-1] == 300
    assert all((step - 100) % num_batches == 0 for step in pace.looks[:-1])
    assert 100 < pace.looks[0] == 100 + num_batches


def test_there_are_always_some_looks_that_measure():
    assert len(_plan(1000, evaluate_on="full_data").looks) == 8
    assert len(_plan(1000, evaluate_on="full_data", num_draws=5).looks) == 5


@pytest.mark.parametrize("may_stop", [False, True])
def test_one_batch_is_measured_at_every_draw_anyway(may_stop):
    measured = _plan(1, evaluate_on="full_data", may_stop=may_stop)
    assert measured == _plan(1, evaluate_on="minibatch", may_stop=may_stop)


@pytest.mark.parametrize(
    ("num_batches", "looks", "full_batches"), [(2, 25, 2), (3, 18, 3), (16, 14, 4), (1000, 14, 4)]
)
def test_looks_that_only_check_are_few_and_cheap(num_batches, looks, full_batches):
    pace = _plan(num_batches)
    assert (len(pace.looks), pace.full_batches) == (looks, full_batches)
    assert looks * full_batches / 3 <= 0.07 * 300  # a forward is a third of a step; rounded


def test_where_chains_may_stop_looks_see_batches_enough_to_tell_slow_parts_from_noise():
    pace = _plan(16, num_draws=4000, num_burnin_steps=100, may_stop=True)
    assert pace.looks[:3] == [110, 120, 130]
    assert pace.full_batches == 4
    assert sorted(pace.looks[number - 1] for number in pace.checks)[:3] == [200, 230, 270]


def test_short_chains_are_looked_at_often_enough_to_be_checked():
    pace = _plan(16, num_draws=30, num_burnin_steps=10)
    assert (len(pace.looks), pace.full_batches) == (10, 2)
