"""The LLC on problems with a known answer. The bench of the same name prints them all."""

from dataclasses import replace
from functools import cache

import pytest

from devtrack.errors import DataError
from devtrack.records import Status
from experiments.bench import gates

QUICK = [gate for gate in gates.gates() if gate.affordable]
LOW_ESS = [gate for gate in gates.gates() if not gate.affordable]
BAD = [how for how in gates.BAD_SETTINGS if how != "too little data"]


def _name(gate):
    return gate.name


@cache
def _estimated(name):
    """Return the row of one of the gates; two tests look at one of them."""
    return gates.estimate(next(gate for gate in QUICK if gate.name == name))


@pytest.mark.parametrize("gate", QUICK, ids=_name)
def test_quick_gate_holds(gate):
    row = _estimated(gate.name)
    assert gate.holds(row), (row.value, row.se, gate.truth)
    assert row.status is Status.OK, row.attrs["reasons"]


@pytest.mark.slow
@pytest.mark.parametrize("gate", LOW_ESS, ids=_name)
def test_slow_gate_holds(gate):
    row = gates.estimate(gate)
    assert gate.holds(row), (row.value, row.se, gate.truth)
    assert row.status is Status.OK, row.attrs["reasons"]


@pytest.mark.parametrize("how", BAD)
def test_bad_settings_never_pass_as_ok(how):
    bad = gates.spoil(gates.deep_linear([5, 3, 5], 3, num_draws=600), how)
    row = gates.estimate(bad)
    assert row.status is not Status.OK
    assert row.attrs["reasons"]


def test_chains_that_have_not_spread_never_pass_as_ok():
    # they meet a quadratic: λ̂ a quarter too low, R-hat and Gamma ratio without fault
    gate = gates.deep_linear([8, 4, 8], 2, method="lm_sgld", localization=1.0, lr=3e-8)
    row = gates.estimate(replace(gate, settings=replace(gate.settings, n_beta=1e7, num_draws=500)))
    assert row.value < 0.85 * gate.truth
    assert row.attrs["rhat"] < 1.1 and 0.7 < row.attrs["gamma_ratio"] < 1.3
    assert "directions have not reached equilibrium" in row.attrs["reasons"][0]
    assert row.status is Status.SUSPECT


def test_less_data_than_a_batch_is_an_error():
    with pytest.raises(DataError, match="1024 samples in all"):
        gates.estimate(gates.spoil(gates.deep_linear([5, 3, 5], 3), "too little data"))


def test_the_local_value_is_found_where_the_global_one_differs():
    row = _estimated(gates.at_zero_and_identity().name)
    assert abs(row.value - 2.0) < 0.1
    assert abs(row.value - 1.5) > 0.3


def test_rmsprop_finds_the_quadratic_too():
    # eps well above the gradients (~0.03 here) keeps the preconditioner from following the chain:
    # where it does, large weights are moved less, linger, and raise the estimate.
    gate = gates.quadratic(10)
    lr = 3 * gate.settings.config.lr  # the preconditioner settles near 1 / eps
    settings = replace(gate.settings, method="rmsprop_sgld", lr=lr, rmsprop_eps=3.0)
    row = gates.estimate(gate, settings=replace(settings, num_burnin_steps=1000))
    assert row.value == pytest.approx(gate.truth, rel=0.03)
