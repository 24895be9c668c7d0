"""The section on trust, from facts in memory."""

from __future__ import annotations

from devtrack.report._quality_queries import Doubt, Happening, Sampler
from devtrack.report._quality_section import costs, doubts, events, samplers


def sampler(n_beta, *, site="model", removed=None):
    settings = {"n_beta": n_beta, "lr": 0.001}
    return Sampler("llc", site, settings, 9, 0, 99, 1.02, 80.0, 0.9, 1.1, removed)


def test_settings_that_change_within_a_series_are_pointed_out():
    changed = samplers([sampler("30.0"), sampler("60.0")])
    assert "A configuration changed within the run" in changed
    assert "n_beta 60.0, lr 0.001" in changed
    assert "changed" not in samplers([sampler("30.0"), sampler("60.0", site="block")])


def test_what_was_taken_out_for_the_step_size_is_a_share_of_the_estimate():
    assert "4.3 %" in samplers([sampler("30.0", removed=0.0434)])
    assert "%" not in samplers([sampler("30.0")])


def test_many_events_of_a_kind_are_cut_and_counted():
    many = [Happening(step, 0, "lr_change", f"to {step}", {}) for step in range(100)]
    made = events([*many, Happening(7, 0, "violation", "probe above 0.6", {})])
    assert made.count("lr_change") == 21
    assert "and 80 more" in made
    assert "to 99" in made
    assert "probe above 0.6" in made


def test_each_attempt_has_its_account():
    made = costs([Happening(9, 0, "cost", "first", {}), Happening(20, 1, "cost", "second", {})])
    assert "Attempt 0: first" in made
    assert "Attempt 1: second" in made


def test_many_steps_are_cut():
    made = doubts([Doubt("llc", "model", "suspect", "R-hat", tuple(range(30)))])
    assert "0, 1, 2, 3, 4, 5, 6, 7 and 22 more, to 29" in made
