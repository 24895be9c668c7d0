"""What another value of a constant does."""

import pytest

from devtrack.changepoints import DetectorConfig
from devtrack.errors import ConfigError
from experiments.bench import detector_config as bench


def test_one_field_of_one_group_is_changed():
    base = DetectorConfig()
    changed = bench.with_value(base, "selection.step_penalty", 13.0)
    assert changed.selection.step_penalty == 13.0
    assert bench.with_value(changed, "selection.step_penalty", 11.0) == base
    assert bench.with_value(base, "seed", 7).seed == 7


@pytest.mark.parametrize("name", ["selection.penalty", "penalty", "choice.step_penalty", ""])
def test_a_field_that_is_none_is_refused(name):
    with pytest.raises(ConfigError, match="is no field of DetectorConfig.*Write for example"):
        bench.with_value(DetectorConfig(), name, 1)


def test_a_value_is_scored_on_the_same_runs_as_the_present_one():
    sets = bench.draw_sets([201], every=20)
    assert len(sets[0][1]) == 6
    table = bench.sweep("selection.step_penalty", [11.0, 1e9], sets)
    assert list(table) == ["11.0 (present)", "1000000000.0"]
    assert table.loc["F1"].iloc[0] > 0.5
    assert table.loc["F1"].iloc[1] < table.loc["F1"].iloc[0]
