from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from devtrack.errors import ConfigError, MetricError
from devtrack.model_state import snapshots
from devtrack.records import Status
from devtrack.sampling.calibration import CalibrationConfig
from devtrack.sampling.calibration._calibrate import (
    Trial,
    _confirm,
    _main_warning,
    _search_step_size,
    agree,
    calibrate,
)
from devtrack.sampling.config import SamplerConfig
from devtrack.sampling.diagnostics import QualityWarning, WarningCode

GAMMA_RATIO_LOW = {"n_betas": (100.0,), "localizations": (1.0,)}


class Bowl(nn.Module):
    """L = ½ Σ h_i w_i², curvatures from ½ to 2: λ = 5 without localization."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(10, dtype=torch.float64))


CURVATURE = torch.linspace(0.5, 2, 10, dtype=torch.float64)


def _height(model, _):
    return 0.5 * (CURVATURE * model.w.square()).sum()


def _calibrate(model=None, *, loss=_height, points=None, **changes):
    model = model or Bowl()
    return calibrate(
        model,
        [snapshots.take(model)] if points is None else points,
        loss=loss,
        batches=[torch.zeros(2)],
        generator=torch.Generator().manual_seed(0),
        **{**GAMMA_RATIO_LOW, **changes},
    )


@pytest.fixture(scope="module")
def found():
    return _calibrate()


def test_it_finds_a_config_that_gives_the_known_value(found):
    chosen = [t for t in found.trials if t.config == found.config and t.purpose != "control"]
    assert {trial.status for trial in chosen} == {Status.OK}
    assert chosen[0].value == pytest.approx(5.0, abs=0.3 + 3 * chosen[0].se)
    assert len(found.reasons) == 4


def test_the_grid_begins_at_the_step_to_the_bottom_of_the_steepest_direction(found):
    first = next(trial for trial in found.trials if trial.purpose == "pilot")
    assert first.config.lr == pytest.approx(2 / (100 * 2 + 1), rel=0.1)


def test_the_choice_is_confirmed_by_half_long_and_control_trials(found):
    half, long = found.trials[-2:]
    (prior_control,) = (trial for trial in found.trials if trial.purpose == "control")
    assert half.purpose == "half"
    assert half.config.lr == pytest.approx(found.config.lr / 2)
    assert half.config.num_draws == 2 * found.config.num_draws  # over an equal time
    assert half.config.num_burnin_steps == 2 * found.config.num_burnin_steps
    assert long.purpose == "long"
    assert long.config == replace(found.config, num_draws=4 * found.config.num_draws)
    assert prior_control.value > 2 * half.value / 100  # without the loss, the chains go far


def test_a_point_where_chains_fail_counts_against_it_but_does_not_stop_it():
    broken = Bowl()
    with torch.no_grad():
        broken.w.fill_(torch.nan)
    points = [snapshots.take(broken), snapshots.take(Bowl())]
    found = _calibrate(points=points)
    assert "of 2 points, 1 pass every check" in found.reasons[3]
    assert "not point 0: 2 of 2 chains non-finite" in found.reasons[4]


def test_the_largest_n_beta_that_passes_is_taken_with_the_weakest_localization():
    found = _calibrate(n_betas=(3.0, 100.0, 30.0), localizations=(10.0, 1.0))
    assert (found.config.n_beta, found.config.localization) == (100.0, 1.0)
    tried = {trial.config.n_beta for trial in found.trials if trial.purpose != "control"}
    assert tried == {100.0}  # no need to try others


def test_a_larger_n_beta_that_fails_at_a_snapshot_is_replaced():
    # near the bottom, chains at a large nβ descend further; at a small one the difference is
    # negligible
    moved = Bowl()
    with torch.no_grad():
        moved.w.fill_(0.05)
    points = [snapshots.take(moved), snapshots.take(Bowl())]
    found = _calibrate(points=points, n_betas=(1000.0, 3.0))
    passed = {(t.config.n_beta, t.point) for t in found.trials if t.status is Status.OK}
    assert (1000.0, 1) in passed and (1000.0, 0) not in passed
    assert found.config.n_beta == 3.0


def test_that_a_snapshot_is_no_minimum_is_the_main_warning():
    warnings = tuple(
        QualityWarning(code, code)
        for code in (
            WarningCode.GAMMA_RATIO_HIGH,
            WarningCode.NONZERO_GRADIENT,
            WarningCode.STEP_BIAS,
        )
    )
    config = SamplerConfig(n_beta=1.0)
    trial_ = Trial("pilot", 0, config, 1.0, 1.0, 1.0, Status.SUSPECT, warnings, np.zeros(1))
    assert _main_warning(trial_) == "nonzero_gradient"
    assert _main_warning(trial_._replace(warnings=warnings[::2])) == "gamma_ratio_high"


class _Stub:
    """Trials that were planted: one tuple of warning codes for each run."""

    curvature = 2.0
    criteria = CalibrationConfig()

    def __init__(self, *planted, last=0):
        self.planted, self.asked, self.last = list(planted), [], last

    def run(self, config, point, *, purpose="sweep"):
        self.asked.append((purpose if point == self.last else f"{purpose} of {point}", config.lr))
        warnings = tuple(QualityWarning(code, "") for code in self.planted.pop(0))
        status = Status.SUSPECT if warnings else Status.OK
        return Trial(purpose, point, config, 1.0, 1.0, 1.0, status, warnings, np.zeros(1))


@pytest.mark.parametrize(
    ("value", "se", "agrees"),
    [
        (40.0, 0.1, True),
        (40.9, 0.1, True),  # a share of 0.025 is 1
        (41.1, 0.1, False),
        (44.0, 2.0, True),  # two errors of the difference are 5.7
        (46.0, 2.0, False),
    ],
)
def test_steps_agree_within_their_errors_or_a_share(value, se, agrees):
    def trial(value):
        config = SamplerConfig(n_beta=1.0)
        return Trial("sweep", 0, config, value, se, 1.0, Status.OK, (), np.zeros(1))

    assert agree(trial(40.0), trial(value), sigmas=2.0, share=0.025) == agrees


def test_a_step_size_that_disagrees_with_its_half_is_replaced():
    class Halving(_Stub):
        def run(self, config, point, *, purpose="sweep"):
            trial = super().run(config, point, purpose=purpose)
            return trial._replace(value=40.0 + 4.0 * (config.lr > 0.6), se=0.1)

    stub = Halving(*[()] * 9, last=1)
    config = SamplerConfig(n_beta=1.0, localization=1.0)
    found = _confirm(stub, _search_step_size(stub, config, at_least=1))
    assert [trial.config.lr for trial in found.candidate] == pytest.approx([1 / 3, 1 / 3])
    assert found.half.config.lr == pytest.approx(1 / 6)


@pytest.mark.parametrize(
    ("warnings", "value", "holds"),
    [((), 40.2, True), ((), 30.0, False), ({WarningCode.HIGH_RHAT}, 40.2, False)],
    ids=["stays", "elsewhere", "warned"],
)
def test_chains_that_leave_in_the_long_trial_are_rejected(warnings, value, holds):
    class Leaving(_Stub):
        def run(self, config, point, *, purpose="sweep"):
            trial = super().run(config, point, purpose=purpose)
            return trial._replace(value=value if purpose == "long" else 40.0, se=0.1)

    stub = Leaving((), (), (), warnings)
    config = SamplerConfig(n_beta=1.0, localization=1.0)
    found = _confirm(stub, _search_step_size(stub, config, at_least=1))
    assert [purpose for purpose, _ in stub.asked] == ["pilot", "sweep", "half", "long"]
    assert bool(found) == holds


def test_a_step_size_too_large_for_the_long_trial_is_halved():
    stub = _Stub((), (), (), {WarningCode.ABOVE_BOUND}, (), (), last=0)
    config = SamplerConfig(n_beta=1.0, localization=1.0)
    found = _confirm(stub, _search_step_size(stub, config, at_least=1))
    purposes = [purpose for purpose, _ in stub.asked]
    assert purposes == ["pilot", "sweep", "half", "long", "half", "long"]
    assert found.candidate[-1].config.lr == pytest.approx(1 / 3)


@pytest.mark.parametrize(("localization", "n_beta"), [(10.0, 30.0), (100.0, 1000.0)])
def test_a_localization_dominated_config_does_not_replace_the_best(localization, n_beta):
    # the gradient lowers λ̂ by 2 nβ h w²; at nβ 30 and γ 100 localization allows 0.7 of the
    # increase
    moved = Bowl()
    with torch.no_grad():
        moved.w.fill_(0.02)
    points = [snapshots.take(moved), snapshots.take(Bowl())]
    n_betas, localizations = (1000.0, 30.0), (localization,)
    found = _calibrate(points=points, n_betas=n_betas, localizations=localizations)
    assert found.config.n_beta == n_beta
    assert any(t.config.n_beta == 30.0 for t in found.trials)


@pytest.mark.parametrize(
    ("planted", "purposes"),
    [
        # too large a step: a smaller one passes as a pilot and as a full trial
        ([{WarningCode.GAMMA_RATIO_HIGH}, (), ()], ["pilot", "pilot", "sweep"]),
        # a warning that no step size removes ends the search
        ([{WarningCode.LEFT_BASIN}], ["pilot"]),
        ([{WarningCode.NONZERO_GRADIENT, WarningCode.GAMMA_RATIO_HIGH}], ["pilot"]),
        ([{WarningCode.GAMMA_RATIO_HIGH, WarningCode.NOT_EQUILIBRATED}], ["pilot"]),
        # a full trial may be too slow once, not twice
        (
            [
                (),
                {WarningCode.LOW_ESS, WarningCode.GAMMA_RATIO_HIGH},
                (),
                {WarningCode.LOW_ESS, WarningCode.GAMMA_RATIO_HIGH},
            ],
            ["pilot", "sweep"] * 2,
        ),
        ([(), {WarningCode.HIGH_RHAT}], ["pilot", "sweep"]),
    ],
)
def test_the_search_continues_only_while_smaller_steps_can_help(planted, purposes):
    stub = _Stub(*planted)
    passed = _search_step_size(stub, SamplerConfig(n_beta=1.0, localization=1.0), at_least=1)
    assert [purpose for purpose, _ in stub.asked] == purposes
    assert stub.planted == []
    assert bool(passed) == (purposes[-1] == "sweep" and planted[-1] == ())
    steps = [lr for purpose, lr in stub.asked if purpose == "pilot"]
    np.testing.assert_allclose(steps, 2 / 3 / 2.0 ** np.arange(len(steps)))


def test_a_step_size_too_large_for_an_earlier_snapshot_is_reduced():
    stub = _Stub((), {WarningCode.GAMMA_RATIO_HIGH}, (), (), (), (), last=1)
    passed = _search_step_size(stub, SamplerConfig(n_beta=1.0, localization=1.0), at_least=1)
    both = ["pilot", "pilot of 0"]
    assert [purpose for purpose, _ in stub.asked] == [*both, *both, "sweep", "sweep of 0"]
    assert [trial.config.lr for trial in passed] == pytest.approx([1 / 3, 1 / 3])


@pytest.mark.parametrize(
    "end",
    [{WarningCode.GAMMA_RATIO_HIGH, WarningCode.NOT_EQUILIBRATED}, {WarningCode.NOT_EQUILIBRATED}],
)
def test_a_snapshot_that_accepts_no_step_size_is_given_up(end):
    stub = _Stub((), {WarningCode.GAMMA_RATIO_HIGH}, end, (), last=1)
    passed = _search_step_size(stub, SamplerConfig(n_beta=1.0, localization=1.0), at_least=1)
    assert [trial.config.lr for trial in passed] == pytest.approx([2 / 3, 2 / 3])
    assert [trial.status for trial in passed] == [Status.SUSPECT, Status.OK]


def test_configs_that_cannot_pass_more_often_are_not_tried():
    stub = _Stub((), {WarningCode.NONZERO_GRADIENT}, last=2)
    config = SamplerConfig(n_beta=1.0, localization=1.0)
    assert _search_step_size(stub, config, at_least=3) is None
    assert [purpose for purpose, _ in stub.asked] == ["pilot", "pilot of 0"]


def test_chains_that_lose_the_training_gain_are_rejected():
    # the loss rises by about 5 / nβ: 0.16 at nβ 30, 0.05 at 100
    untrained = {"w": torch.full((10,), 0.13, dtype=torch.float64)}  # 0.1 above the minimum
    assert _calibrate(n_betas=(30.0, 10.0)).config.n_beta == 30.0
    with pytest.raises(MetricError, match="another basin|left the basin"):
        _calibrate(n_betas=(30.0, 10.0), untrained=untrained)
    found = _calibrate(n_betas=(100.0, 30.0), untrained=untrained)
    assert found.config.n_beta == 100.0
    assert "these lose 4" in found.reasons[2]  # some 45 % of it


def test_dominated_configs_are_not_tried():
    untrained = {"w": torch.full((10,), 0.13, dtype=torch.float64)}
    with pytest.raises(MetricError, match="^[12] trials"):
        _calibrate(n_betas=(30.0, 10.0, 3.0, 1.0), untrained=untrained)
    with pytest.raises(MetricError, match="localization rather than the loss confines them"):
        _calibrate(n_betas=(10.0, 3.0), localizations=(1e4, 1e5))


def test_the_weights_are_restored():
    model = Bowl()
    with torch.no_grad():
        model.w.fill_(0.5)
    _calibrate(model, points=[snapshots.take(Bowl())])
    assert torch.equal(model.w, torch.full((10,), 0.5, dtype=torch.float64))


def test_equal_generators_give_equal_answers():
    first, again = _calibrate(), _calibrate()
    assert first.config == again.config
    np.testing.assert_array_equal(first.trials[-1].trace, again.trials[-1].trace)


def test_where_nothing_passes_it_says_why():
    # A loss without a bottom: every chain descends at any setting.
    with pytest.raises(MetricError, match=r"none passed every check. Most often: .*minimum"):
        _calibrate(loss=lambda m, _: m.w.sum())


def test_nothing_to_try_is_refused():
    with pytest.raises(ConfigError, match=r"0 points, 1 n_betas.*at least 1 of each"):
        _calibrate(points=[])
