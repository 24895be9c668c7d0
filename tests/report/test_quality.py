"""Lines on data quality, from facts in memory."""

from __future__ import annotations

from devtrack.records import Event, Status
from devtrack.report._quality import cost_accounts, event_lines, reason_lines, sampler_lines
from devtrack.store.quality import FlaggedValue, SamplerSummary


def sampler(n_beta, *, removed=None):
    settings = {"n_beta": n_beta, "lr": 0.001}
    return SamplerSummary("llc", "model", settings, 9, 0, 99, 1.02, 80.0, 0.9, 1.1, removed)


def test_a_configuration_is_one_line():
    (line,) = sampler_lines([sampler("60.0")])
    assert "n_beta 60.0, lr 0.001" in line
    assert "9, steps 0 to 99" in line


def test_what_was_subtracted_as_step_size_bias_is_a_share_of_the_estimate():
    assert sampler_lines([sampler("30.0", removed=0.0434)])[0][-1] == "4.3 %"
    assert sampler_lines([sampler("30.0")])[0][-1] == ""


def test_many_events_of_a_kind_are_cut_and_counted():
    many = [(step, Event("lr_change", f"to {step}")) for step in range(100)]
    lines = event_lines([*many, (7, Event("violation", "probe above 0.6")), (9, Event("cost"))])
    assert [kind for _, kind, _ in lines].count("lr_change") == 21
    assert ("to 99", "lr_change", "and 80 more") in lines
    assert lines[-1] == ("7", "violation", "probe above 0.6")


def test_each_attempt_has_its_account():
    costs = [(9, Event("cost", "first")), (20, Event("cost", "second"))]
    assert [text for text, _ in cost_accounts(costs)] == ["Attempt 0: first", "Attempt 1: second"]
    ((text, _),) = cost_accounts([])
    assert text.startswith("No account of it")


def test_many_steps_are_cut():
    attrs = {"reasons": ["R-hat 1.2"]}
    flagged = [FlaggedValue("llc", "model", Status.SUSPECT, step, attrs) for step in range(30)]
    (line,) = reason_lines(flagged)
    assert line[-1] == "0, 1, 2, 3, 4, 5, 6, 7 and 22 more, to 29"
    assert line[:5] == ("llc", "model", "suspect", "30", "R-hat 1.2")
