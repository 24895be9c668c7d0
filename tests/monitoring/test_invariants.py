import math

import pytest

from devtrack.errors import ConfigError
from devtrack.monitoring.invariants import Invariant, Rule, parse


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("probe/deception/accuracy < 0.6", Rule("probe/deception/accuracy", None, "<", 0.6)),
        ("llc@blocks.0.attn>=1e2", Rule("llc", "blocks.0.attn", ">=", 100.0)),
        ("  loss<= -3 ", Rule("loss", None, "<=", -3.0)),
    ],
)
def test_rules_are_read(text, rule):
    assert parse(text) == rule


@pytest.mark.parametrize(
    "text", ["loss", "loss == 3", "loss < three", "< 3", "loss < nan", "a b < 1", "loss < 1 < 2", 3]
)
def test_what_is_no_rule_is_refused_at_the_door(text):
    with pytest.raises(ConfigError, match=r"Invariant\(.*must read METRIC < NUMBER.*Write for"):
        Invariant(text)


@pytest.mark.parametrize("z", [-1, math.inf, "2"])
def test_z_must_be_a_number_of_standard_errors(z):
    with pytest.raises(ConfigError, match=r"z=.*must be a number of standard errors.*Pass z=2"):
        Invariant("loss < 1", z=z)


@pytest.mark.parametrize("operator", ["<", "<=", ">", ">="])
@pytest.mark.parametrize("se", [0.0, 0.1, math.nan])
def test_it_is_violated_from_z_standard_errors_past_the_bound(operator, se):
    rule, slack = Invariant(f"x {operator} 1.0", z=3), 0.0 if math.isnan(se) else 3 * se
    worse = 1.0 if operator.startswith("<") else -1.0
    assert rule.is_violated(1.0 + worse * (slack + 1e-6), se=se)
    assert not rule.is_violated(1.0 + worse * (slack - 1e-6), se=se)


def test_on_the_bound_only_a_strict_rule_is_violated():
    assert [Invariant(f"x {s} 1").is_violated(1.0) for s in ("<", "<=", ">", ">=")] == [
        True,
        False,
        True,
        False,
    ]


def test_a_rule_watches_its_site_or_all():
    assert Invariant("x < 1").applies_to("x", "blocks.0")
    assert not Invariant("x@model < 1").applies_to("x", "blocks.0")
    assert not Invariant("x < 1").applies_to("y", "model")
