"""Pictures over several runs: each number in its row."""

from __future__ import annotations

import numpy as np
import pytest

from devtrack.changepoints._step_scale import Axis
from devtrack.plots import draw_leads, draw_recurring
from devtrack.plots.across_runs import MAX_ROWS
from devtrack.transitions.lead_time import precursors
from devtrack.transitions.recurrence import recurring
from tests.made import occurrence

AXIS = Axis("log", 0, 9999)
RUNS = [f"r{number}" for number in range(6)]


def changes():
    rng = np.random.default_rng(0)
    found = []
    for run in RUNS:
        at = 1000 * (1 + 0.1 * rng.random())
        found.append(occurrence(run, "step", "accuracy", "model", "up", midpoint=at))
        found.append(occurrence(run, "step", "$a_b", "head.1", "up", midpoint=at / 3))
    return found


def texts(figure):
    return [text.get_text() for text in [*figure.texts, *figure.axes[0].texts]]


def test_a_dot_for_each_run_and_the_share_beside_it():
    figure = draw_recurring(recurring(changes()[1:], RUNS, axis=AXIS), axis=AXIS)
    (ax,) = figure.axes
    dots = {line.get_gid(): line.get_xdata() for line in ax.lines if line.get_gid()}
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names == ["accuracy up", "$a_b at head.1 up"], "from below: the first change is on top"
    given = [one.move.midpoint for one in changes()[1:] if one.move.metric == "accuracy"]
    assert sorted(dots["runs:0"]) == sorted(given)
    assert {"6 of 6", "5 of 6"} <= set(texts(figure))
    figure.savefig("/dev/null", format="png")


def test_leads_stand_right_of_zero_when_they_come_first():
    found = precursors(changes(), RUNS, target="accuracy", axis=AXIS)
    figure = draw_leads(found, axis=AXIS, target="accuracy")
    (ax,) = figure.axes
    (interval,) = [line for line in ax.lines if line.get_gid() == "lead:0"]
    assert interval.get_xdata() == pytest.approx([found[0].lead.low, found[0].lead.high])
    assert ax.get_xlabel().startswith("mean lead in decades")
    assert "6 of 6" in texts(figure)
    figure.savefig("/dev/null", format="png")


def test_rows_without_room_are_counted():
    many = [
        occurrence("r0", "step", f"metric{number}", "model", "up", midpoint=10.0 + number)
        for number in range(MAX_ROWS + 7)
    ]
    figure = draw_recurring(recurring(many, RUNS, axis=AXIS), axis=AXIS)
    assert len(figure.axes[0].get_yticklabels()) == MAX_ROWS
    assert "7 more rows are not drawn" in " ".join(texts(figure))
    assert draw_recurring([], axis=AXIS).axes
