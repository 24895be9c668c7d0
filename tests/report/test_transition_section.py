"""What the card of one transition says."""

import pytest

from devtrack.report._transition_queries import Found, FoundMove
from devtrack.report._transition_section import card


def found(*metrics, kind="step"):
    moves = tuple(
        FoundMove(metric, "model", "up", 0.4, 0.03, 150, 300, 600, 260, 340, "")
        for metric in metrics
    )
    return Found(0, kind, 150, 300, 600, 260, 340, 0.9, 1e-9, "p", 0.05, None, moves)


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
def test_a_step_that_only_one_of_several_series_shows_is_told_as_such(one, num_series, said):
    text = card(one, num_series=num_series)
    assert ("counts successes" in text) == (said is not None)
    assert said is None or said in text
