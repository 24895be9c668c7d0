"""The scale on which a run is read."""

import numpy as np
import pytest

from devtrack.changepoints._step_scale import choose_axis

DENSE = np.unique(np.geomspace(1, 2_700, 1_700).astype(int))  # every single step up to 200
EVEN = np.arange(0, 40_000, 1_000)


@pytest.mark.parametrize(
    "steps, kind",
    [
        (DENSE, "log"),
        (np.unique(np.geomspace(10, 1e5, 30).astype(int)), "log"),
        (EVEN, "linear"),
        (np.delete(EVEN, [30, 31, 35]), "linear"),
    ],
)
def test_the_scale_is_that_of_the_schedule(steps, kind):
    assert choose_axis(steps).kind == kind
    assert choose_axis(steps, kind="log").kind == "log"
