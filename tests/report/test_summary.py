"""The paragraph says what the rows say, and no more."""

from __future__ import annotations

import math

from devtrack.report.summary import (
    MAX_SENTENCES,
    lag_text,
    order_text,
    summarize,
    transition_sentence,
)
from devtrack.transitions.coverage import Coverage
from tests import made

FOUR = Coverage(("llc", "loss", "a", "b"), {})


def move(metric, midpoint=300.0, **changes):
    dates = {"midpoint": midpoint, "midpoint_low": 0.9 * midpoint, "midpoint_high": 1.1 * midpoint}
    return made.move(metric, **{**dates, **changes})


def found(*moves, **changes):
    return made.transition(*(moves or (move("llc"),)), **changes)


def test_the_first_sentence_counts_and_the_others_tell():
    first, second = summarize([found()], steps=[0, 10, 600], coverage=FOUR)
    assert first == "Over 3 observed steps, from 0 to 600, 1 of 4 series moved, in 1 transition."
    assert second == "T0, half-way at step 300 [260, 340]: llc fell by 60.2 ± 3.1."


def test_a_change_at_an_event_is_no_transition():
    explained = found(event="lr_change")
    first, second = summarize([explained], steps=[0, 9], coverage=FOUR)
    assert first.endswith("in 1 change at an event of the configuration.")
    assert second.endswith("coincides with lr change, an event of the configuration.")
    both, *_ = summarize([found(), found(), explained], steps=[0, 9], coverage=FOUR)
    assert both.endswith("2 transitions and 1 change at an event of the configuration.")


def test_an_order_is_claimed_only_where_the_intervals_tell():
    assert order_text([move("loss", 500), move("llc", 300)]) == "llc, then loss"
    groups = [move("a", 100), move("b", 110), move("c", 300), move("d", 900)]
    assert order_text(groups[::-1]) == "a and b, then c, then d"
    assert "; a and b moved first." in transition_sentence(0, found(*groups))
    near = [move("llc", 300), move("loss", 320)]
    assert order_text(near) == "their intervals do not tell which moved first"
    unknown = [move("llc", 300, midpoint_low=math.nan, midpoint_high=math.nan), move("loss", 900)]
    assert order_text(unknown) == "their intervals do not tell which moved first"
    assert [lag_text(one, near) for one in near] == ["0", "20"]


def test_the_loudest_series_are_named_in_the_order_of_their_midpoints():
    quiet = move("quiet", 200, effect=1.0, effect_se=1.0)
    loud = [move(name, at, effect_se=0.5) for name, at in (("a", 210), ("b", 220), ("c", 230))]
    sentence = transition_sentence(0, found(quiet, *loud))
    assert sentence.index(" a ") < sentence.index(" b ") < sentence.index(" c ")
    assert "quiet" not in sentence
    assert "1 more series moved too" in sentence


def test_a_turn_is_no_rise_and_has_no_half_way():
    bend = move("llc", direction="down", effect=-5.0, effect_se=0.5)
    assert transition_sentence(0, found(bend, kind="turn")) == (
        "T0, at its turning point at step 300 [260, 340]: llc turned from rising to falling, its "
        "slope per length of the axis by 5.00 ± 0.50."
    )
    bend = move("llc", direction="up", effect=0.5, effect_se=math.nan)
    assert "llc turned from falling to rising, its slope" in transition_sentence(
        0, found(bend, kind="turn")
    )
    assert "llc changed by 0.5" in transition_sentence(0, found(bend, kind="new kind"))


def test_runs_in_which_nothing_was_found():
    first, second = summarize([], steps=[0, 5], coverage=Coverage(("loss",), {}))
    assert first == "Over 2 observed steps, from 0 to 5, no transition was found in 1 series."
    assert "no proof" in second
    few = {"fewer than 10 ok points": ("llc (52 suspect)",)}
    first, second, third = summarize([], steps=[0, 5], coverage=Coverage(("loss",), few))
    assert second == "Not evaluated: fewer than 10 ok points: llc (52 suspect)."
    assert "no proof" in third
    first, second = summarize([], steps=[7], coverage=Coverage((), few))
    assert first == (
        "Over the one observed step, 7, no series could be evaluated: whether anything changed is "
        "not known."
    )
    assert second == "Not evaluated: fewer than 10 ok points: llc (52 suspect)."
    (only,) = summarize([], steps=[7], coverage=None)
    assert "nobody has looked for transitions yet" in only


def test_what_was_not_judged_stands_beside_what_was_found():
    coverage = Coverage(("llc",), {"constant": ("loss",)})
    first, second, third = summarize([found(move("llc", 300))], steps=[0, 5], coverage=coverage)
    assert first == "Over 2 observed steps, from 0 to 5, 1 of 1 series moved, in 1 transition."
    assert second == "Not evaluated: constant: loss."
    assert third.startswith("T0")


def test_many_transitions_are_not_all_told():
    many = [found() for _ in range(MAX_SENTENCES + 3)]
    sentences = summarize(many, steps=[0, 5], coverage=FOUR)
    assert len(sentences) == MAX_SENTENCES + 2
    assert sentences[-1] == "The other 3 are in the cards below."
