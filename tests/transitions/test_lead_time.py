"""Early warning: a planted lead is found with its size, and none where there is none."""

from __future__ import annotations

import itertools
import math
from itertools import permutations, product

import numpy as np
import pytest
from scipy import stats

from devtrack.changepoints._step_scale import Axis
from devtrack.errors import ConfigError
from devtrack.transitions.lead_time import holm, largest_changes, lead_time, precursors
from tests.made import occurrence

AXIS = Axis("log", 0, 9999)
RUNS = [f"r{number}" for number in range(10)]


def change(run, metric, decades, *, effect=5.0, kind="step", direction="up"):
    given = (run, kind, metric, "model", direction)
    return occurrence(*given, effect=effect, midpoint=10**decades - 1)


def test_a_planted_lead_is_found_and_its_interval_holds_it():
    rng = np.random.default_rng(0)
    covered, found = 0, 0
    for _ in range(400):
        target = 3 + 0.3 * rng.standard_normal(8)
        lead = lead_time(target, target - 0.4 + 0.1 * rng.standard_normal(8))
        covered += lead.low <= 0.4 <= lead.high
        found += lead.p < 0.05
    assert covered / 400 == pytest.approx(0.95, abs=0.033)  # 3 standard errors of 400 draws
    assert found / 400 > 0.95


def test_without_a_lead_the_alarms_keep_their_rate():
    rng = np.random.default_rng(1)
    leads = [lead_time(*(3 + 0.3 * rng.standard_normal((2, 8)))) for _ in range(400)]
    assert np.mean([lead.p < 0.05 for lead in leads]) == pytest.approx(0.05, abs=0.033)
    assert np.mean([lead.low <= 0 <= lead.high for lead in leads]) == pytest.approx(0.95, abs=0.033)
    assert np.mean([lead.correlation_p < 0.05 for lead in leads]) == pytest.approx(0.05, abs=0.033)


def test_always_earlier_is_no_foretelling():
    rng = np.random.default_rng(2)
    target, early = 3 + 0.3 * rng.standard_normal(10), 1 + 0.3 * rng.standard_normal(10)
    merely = lead_time(target, early)
    assert (merely.num_first, merely.p) == (10, 2 / 2**10)
    assert merely.correlation_p > 0.05
    telling = lead_time(target, target - 1 + 0.05 * rng.standard_normal(10))
    assert telling.correlation > 0.9
    assert telling.correlation_p < 0.01


def test_five_runs_cannot_go_below_a_sixteenth():
    target = np.arange(5) + 100.0
    lead = lead_time(target, target - 50)
    assert lead.p == lead.p_least == 2 / 32
    six = lead_time(np.arange(6) + 100.0, np.arange(6) + 50.0)
    assert six.p == 2 / 64 < 0.05


@pytest.mark.parametrize("count", [2, 5, 9, 40])
def test_the_interval_and_the_correlation_agree_with_scipy(count):
    rng = np.random.default_rng(count)
    target, other = rng.standard_normal((2, count))
    mine = lead_time(target, other, level=0.9)
    oracle = stats.ttest_rel(target, other).confidence_interval(0.9)
    assert (mine.low, mine.high) == pytest.approx((oracle.low, oracle.high))
    if count > 3:
        assert mine.correlation == pytest.approx(stats.pearsonr(target, other).statistic)


@pytest.mark.parametrize("count", [2, 5, 7])
def test_p_values_are_shares_of_all_signs_and_of_all_pairings(count):
    rng = np.random.default_rng(count)
    target, other = rng.standard_normal((2, count))
    mine, lead = lead_time(target, other), target - other
    means = [abs(np.dot(signs, lead)) for signs in product((-1, 1), repeat=count)]
    assert mine.p == pytest.approx(np.mean(np.array(means) >= abs(lead.sum()) - 1e-9))
    if count > 3:
        paired = [
            abs(np.corrcoef(target, other[list(order)])[0, 1])
            for order in permutations(range(count))
        ]
        assert mine.correlation_p == pytest.approx(
            np.mean(np.array(paired) >= abs(mine.correlation) - 1e-9)
        )


def test_over_many_runs_the_p_value_is_that_of_random_signs():
    rng = np.random.default_rng(40)
    lead = rng.standard_normal(40) + 0.3
    signs = rng.choice((-1, 1), size=(20_000, 40))
    naive = np.mean(np.abs(signs @ lead) >= abs(lead.sum()))
    # both are of 10 000 draws or more: sd .005
    assert lead_time(lead, np.zeros(40)).p == pytest.approx(naive, abs=0.015)


def test_a_run_that_lacks_one_of_the_changes_takes_no_part():
    target = np.array([3.0, 3.1, np.nan, 3.2])
    other = np.array([2.0, 2.1, 1.0, np.nan])
    lead = lead_time(target, other)
    assert (lead.num_runs, lead.num_first, lead.mean) == (2, 2, pytest.approx(1.0))
    alone = lead_time(target[:1], other[:1])
    assert math.isnan(alone.low) and alone.p == 1.0
    with pytest.raises(ConfigError, match="none with both changes"):
        lead_time(target[2:3], other[2:3])
    with pytest.raises(ConfigError, match="level=2"):
        lead_time(target, other, level=2.0)


def test_precursors_of_a_named_metric():
    rng = np.random.default_rng(3)
    changes = []
    for number, run in enumerate(RUNS):
        at = 3 + 0.2 * rng.standard_normal()
        if number < 8:
            changes += [change(run, "accuracy", at), change(run, "accuracy", 1.0, effect=0.1)]
        if number != 0:
            changes.append(change(run, "attention", at - 0.5 + 0.05 * rng.standard_normal()))
        changes.append(change(run, "norm", at + 0.3 + 0.05 * rng.standard_normal()))
        changes.append(change(run, "noise", 3 + 0.2 * rng.standard_normal()))
    found = precursors(changes, RUNS, target="accuracy", axis=AXIS)
    assert [one.change.key[1] for one in found] == ["attention", "noise", "norm"]
    attention, noise, norm = found
    assert attention.lead.mean == pytest.approx(0.5, abs=0.05)
    assert attention.lead.low < 0.5 < attention.lead.high
    assert (attention.missed, attention.false_positives) == (1, 2)
    assert attention.lead_steps > 0 > norm.lead_steps
    assert norm.lead.high < 0, "it comes after"
    assert noise.lead.low < 0 < noise.lead.high
    assert attention.p_adjusted == pytest.approx(2 * 2 / 2**7)
    assert norm.p_adjusted == pytest.approx(3 * 2 / 2**8), "the smallest of three"
    assert attention.p_adjusted < 0.05 < noise.p_adjusted


def test_the_target_s_change_is_its_largest():
    changes = [
        change("a", "accuracy", 1.0, effect=0.2),
        change("a", "accuracy", 3.0, effect=-0.7, direction="down"),
        change("a", "accuracy", 2.0, effect=50.0, kind="turn"),
    ]
    assert largest_changes(changes, "accuracy")["a"].move.effect == -0.7
    assert largest_changes(changes, "accuracy", direction="up")["a"].move.effect == 0.2
    assert largest_changes(changes, "accuracy", site="head") == {}
    with pytest.raises(ConfigError, match=r"target='acc'.* are accuracy\. Pass one"):
        precursors(changes, ["a"], target="acc", axis=AXIS)


def test_holm_is_the_step_down_of_bonferroni():
    rng = np.random.default_rng(4)
    p = rng.random(6)
    naive = [
        max(min(1.0, (6 - rank) * value) for rank, value in enumerate(sorted(p)) if value <= one)
        for one in p
    ]
    assert holm(p.tolist()) == pytest.approx(naive)
    assert holm([]) == []
    assert all(b >= a for a, b in itertools.pairwise(sorted(holm(p.tolist()))))
