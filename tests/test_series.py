"""The door of the detector: what a Series accepts and what it refuses."""

import subprocess
import sys

import numpy as np
import pytest

from devtrack.errors import DataError
from devtrack.series import Series


def test_a_series_without_se_has_unknown_se():
    series = Series("loss", "model", np.arange(3), np.ones(3))
    assert np.isnan(series.se).all()
    assert series.step.dtype == np.int64


def test_an_infinite_se_is_an_unknown_se():
    series = Series("loss", "model", np.arange(2), np.ones(2), np.array([1.0, np.inf]))
    assert series.se[0] == 1.0
    assert np.isnan(series.se[1])


@pytest.mark.parametrize(
    ("step", "value", "se", "word"),
    [
        ([0, 1], [1.0], None, "length"),
        ([[0, 1]], [[1.0, 2.0]], None, "one-dimensional"),
        ([0.5, 1.0], [1.0, 2.0], None, "whole numbers"),
        ([-1, 1], [1.0, 2.0], None, "start at 0"),
        ([0, 1], [1.0, 2.0], [-1.0, 1.0], "0 or more"),
    ],
)
def test_bad_arrays_get_one_clear_error(step, value, se, word):
    with pytest.raises(DataError, match=word) as error:
        Series(
            "loss", "model", np.array(step), np.array(value), None if se is None else np.array(se)
        )
    assert "loss@model" in str(error.value)


def test_the_types_load_without_scipy():
    code = (
        "import sys; import devtrack.series; "
        "bad = {'scipy', 'sklearn', 'torch', 'matplotlib'} & set(sys.modules); assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
