"""What the card of one transition says."""

import pytest

from devtrack.report._transition_card import transition_card
from tests.made import move, transition


def found(*metrics, kind="step"):
    return transition(*map(move, metrics), kind=kind)


@pytest.mark.parametrize(
    "one, num_series, said",
    [
        (found("accuracy"), 3, "no other series does: what counts successes"),
        (found("accuracy"), 2, "the other series does not: what counts successes"),
        (found("accuracy"), 1, None),
        (found("accuracy", "loss"), 3, None),
        (found("accuracy", kind="turn"), 3, None),
    ],
)
def test_a_step_that_only_one_of_several_series_shows_is_described_as_such(one, num_series, said):
    facts = dict(transition_card(0, one, num_series=num_series).facts)
    assert ("alone" in facts) == (said is not None)
    assert said is None or said in facts["alone"]


def test_a_name_is_folded_after_its_separators_only_and_escaped():
    ((metric, *_),) = transition_card(0, found("probe/a<b"), num_series=1).rows
    assert metric == "probe/<wbr>a&lt;b"
