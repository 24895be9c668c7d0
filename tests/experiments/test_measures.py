import math

import numpy as np
import pytest

from experiments.measures import half_way, halved
from experiments.superposition import LLC_SETTINGS

STEPS = np.unique(np.geomspace(1, 3000, 200).round().astype(int))


def path(values, status="ok"):
    return [(0, 9.9, math.nan, "ok")] + [
        (int(s), float(v), math.nan, status) for s, v in zip(STEPS, values, strict=True)
    ]


def sigmoid(middle):
    return 1 / (1 + np.exp(-(np.log(STEPS) - math.log(middle)) / 0.1))


@pytest.mark.parametrize("sign", [1, -1])
def test_the_middle_of_a_sigmoid_is_found_whichever_way_it_goes(sign):
    found = half_way(path(sign * sigmoid(300.0)), falls=sign < 0)
    assert found == pytest.approx(300, rel=0.01)  # a hundredth: the steps are four apart


def test_what_comes_before_the_extreme_does_not_count():
    rise_and_fall = sigmoid(50.0) - sigmoid(700.0)
    assert half_way(path(rise_and_fall), falls=True) == pytest.approx(700, rel=0.01)


def test_on_log_values_the_middle_is_the_geometric_one():
    values = np.exp(-10 * sigmoid(300.0))
    assert half_way(path(values), falls=True, log=True) == pytest.approx(300, rel=0.01)
    assert half_way(path(values), falls=True) < 280


def test_what_never_turns_has_no_date():
    assert math.isnan(half_way(path(sigmoid(300.0)), falls=True))
    assert math.isnan(half_way(path(sigmoid(300.0), status="suspect"), falls=False))


def test_half_the_step_goes_as_far():
    twice = halved(LLC_SETTINGS)
    assert twice.lr * twice.num_steps_bw_draws == LLC_SETTINGS.lr * LLC_SETTINGS.num_steps_bw_draws
    assert twice.lr * twice.num_burnin_steps == LLC_SETTINGS.lr * LLC_SETTINGS.num_burnin_steps
