"""Real quiet trainings: repeatable, and quiet by the convexity of their loss."""

import numpy as np

from experiments.bench.quiet_trainings import quiet_trainings


def test_trainings_are_repeatable_and_learn():
    first, again = list(quiet_trainings(3, 5)), list(quiet_trainings(3, 5))
    assert [optimizer for optimizer, _ in first] == ["sgd", "momentum", "adam"]
    for (_, curves), (_, twins) in zip(first, again, strict=True):
        by_name = {curve.metric: curve for curve in curves}
        assert by_name["train_loss"].value[-1] < by_name["train_loss"].value[0]
        assert by_name["weight_norm"].value[0] == 0.0
        assert np.isnan(by_name["weight_norm"].se).all()
        for curve, twin in zip(curves, twins, strict=True):
            np.testing.assert_array_equal(curve.value, twin.value)
