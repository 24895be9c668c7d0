"""Trials on quadratics: what a pilot predicts, and chains that left the basin."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from devtrack.model_state import snapshots
from devtrack.records import Status
from devtrack.sampling.calibration._trials import TrialRunner
from devtrack.sampling.config import SamplerConfig
from devtrack.sampling.diagnostics import WarningCode

CONFIG = SamplerConfig(
    method="lm_sgld",
    n_beta=100.0,
    localization=10.0,
    lr=5e-3,
    num_chains=4,
    num_draws=150,
    num_burnin_steps=100,
)


class Bowl(nn.Module):
    def __init__(self, dims=20):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(dims, dtype=torch.float64))


def _runner(*, num_curved=20, dims=20, untrained=None):
    """L = ½ ‖w‖² over the first ``num_curved`` of the weights."""
    model = Bowl(dims)
    return TrialRunner(
        model,
        [snapshots.take(model)],
        lambda m, _: 0.5 * m.w[:num_curved].square().sum(),
        [torch.zeros(2)],
        torch.Generator().manual_seed(0),
        untrained,
    )


def _weights_with_loss(height, dims=20):
    return {"w": torch.full((dims,), (2 * height / dims) ** 0.5, dtype=torch.float64)}


def test_a_pilot_takes_a_sixth_of_the_steps():
    pilot = _runner().run(CONFIG, 0, purpose="pilot")
    assert len(pilot.trace) == pytest.approx(250 / 3, abs=1)
    assert pilot.config == CONFIG  # it stands for the whole estimate
    assert pilot.status is Status.OK, pilot.warnings


@pytest.mark.parametrize(("lr", "equilibrates"), [(1e-4, False), (3e-3, True)])
def test_a_pilot_predicts_whether_all_directions_equilibrate(lr, equilibrates):
    # 4 of 20 directions are curved; localization of 10 constrains the others at rate ε γ
    runner = _runner(num_curved=4)
    pilot = runner.run(replace(CONFIG, lr=lr), 0, purpose="pilot")
    whole = runner.run(replace(CONFIG, lr=lr), 0)
    assert (WarningCode.NOT_EQUILIBRATED not in pilot.codes) == equilibrates
    assert (WarningCode.NOT_EQUILIBRATED not in whole.codes) == equilibrates


def test_an_imprecise_estimate_is_a_warning():
    # one direction: λ̂ 0.45 with a spread of 0.7 over few effective draws
    whole = _runner(num_curved=1, dims=1).run(replace(CONFIG, num_draws=40), 0)
    assert whole.se > 0.1 * whole.value
    assert whole.codes == {WarningCode.LOW_ESS}
    assert _runner().run(CONFIG, 0).status is Status.OK


def test_chains_that_lose_the_training_gain_left_the_basin():
    # 20 directions at nβ 100 and γ 10: the loss rises by 20 / (2 · 110) = 0.091
    far = _runner(untrained=_weights_with_loss(0.07)).run(CONFIG, 0)
    near = _runner(untrained=_weights_with_loss(0.12)).run(CONFIG, 0)
    assert far.codes == {WarningCode.LEFT_BASIN}  # no other check sees it
    assert near.status is Status.OK, near.warnings


def test_the_training_gain_is_unknown_at_a_minimum_set_by_hand():
    assert _runner().training_gain == float("inf")


def test_the_training_gain_is_measured_from_the_lower_loss():
    model = Bowl()
    with torch.no_grad():
        model.w.fill_(1.0)  # the minimum; without weights, the loss is 10
    for untrained, training_gain in [(None, 10.0), ({"w": 1.5 + 0 * model.w.detach()}, 2.5)]:
        runner = TrialRunner(
            model,
            [snapshots.take(model)],
            lambda m, _: 0.5 * (m.w - 1).square().sum(),
            [torch.zeros(2)],
            torch.Generator().manual_seed(0),
            untrained,
        )
        assert runner.training_gain == pytest.approx(training_gain)
        snapshots.load_into(model, {"w": torch.ones(20, dtype=torch.float64)})


def test_localization_dominated_chains_are_recognized():
    # the loss rises by γ / (nβ + γ) of its increase at nβ = 0
    for n_beta, dominated in [(3.0, True), (100.0, False)]:
        tried = replace(CONFIG, n_beta=n_beta, localization=100.0)
        pilot = _runner(num_curved=400, dims=400).run(
            tried, 0, purpose="pilot"
        )  # many: little noise
        assert (WarningCode.LOCALIZATION_DOMINATED in pilot.codes) == dominated


def test_the_prior_control_runs_once_per_localization():
    runner = _runner()
    prior_control = runner.prior_control(CONFIG)
    assert prior_control.value == pytest.approx(20 / (2 * 10), rel=0.2)  # 2 chains of 50 draws
    assert runner.prior_control(replace(CONFIG, n_beta=3.0)) is prior_control
    assert [trial.purpose for trial in runner.trials] == ["control"]
