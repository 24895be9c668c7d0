import numpy as np
import pytest
import torch
from torch import nn

from devtrack import snapshots
from devtrack.diagnostics import Cause, Doubt
from devtrack.errors import ConfigError, MetricError
from devtrack.rows import Status
from devtrack.sampling.calibration import Trial, _descend, calibrate
from devtrack.sampling.settings import SamplerSettings

NARROW = {"n_betas": (100.0,), "localizations": (1.0,)}


class Bowl(nn.Module):
    """L = ½ Σ h_i w_i², curvatures from ½ to 2: λ = 5 less what the pull takes."""

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
        **{**NARROW, **changes},
    )


@pytest.fixture(scope="module")
def found():
    return _calibrate()


def test_it_finds_settings_that_give_the_known_value(found):
    chosen = [t for t in found.trials if t.settings == found.settings and t.purpose != "control"]
    assert {trial.status for trial in chosen} == {Status.OK}
    assert chosen[0].value == pytest.approx(5.0, abs=0.3 + 3 * chosen[0].se)
    assert len(found.reasons) == 4


def test_the_choice_was_confirmed_at_half_the_step_and_without_the_loss(found):
    half, control = found.trials[-2:]
    assert (half.purpose, control.purpose) == ("half", "control")
    assert half.settings.lr == pytest.approx(found.settings.lr / 2)
    assert half.settings.num_draws == 2 * found.settings.num_draws  # over an equal time
    assert half.settings.num_burnin_steps == 2 * found.settings.num_burnin_steps
    assert control.value > 2 * half.value  # without the loss, the chains go far


def test_a_point_where_chains_fail_counts_against_it_but_does_not_stop_it():
    broken = Bowl()
    with torch.no_grad():
        broken.w.fill_(torch.nan)
    points = [snapshots.take(broken), snapshots.take(Bowl())]
    found = _calibrate(points=points)
    assert "of 2 points, 1 pass every check" in found.reasons[2]


def test_the_largest_n_beta_that_passes_is_taken_with_the_weakest_pull():
    found = _calibrate(n_betas=(3.0, 100.0, 30.0), localizations=(10.0, 1.0))
    assert (found.settings.n_beta, found.settings.localization) == (100.0, 1.0)
    assert {trial.settings.n_beta for trial in found.trials} == {100.0}  # no need to try others


def test_a_larger_n_beta_that_fails_at_some_point_gives_way():
    # near the bottom, chains at a large nβ slide down; those at a small one do not care
    away = Bowl()
    with torch.no_grad():
        away.w.fill_(0.05)
    points = [snapshots.take(away), snapshots.take(Bowl())]
    found = _calibrate(points=points, n_betas=(1000.0, 3.0))
    passed = {(t.settings.n_beta, t.point) for t in found.trials if t.status is Status.OK}
    assert (1000.0, 1) in passed and (1000.0, 0) not in passed
    assert found.settings.n_beta == 3.0


def test_the_ladder_ends_where_smaller_steps_only_mix_worse():
    class Slow:
        tried = 0

        def run(self, settings, point):
            self.tried += 1
            doubts = (Doubt(Cause.SLOW, "too slow"), Doubt(Cause.WIDE, "too wide"))
            nan = float("nan")
            suspect = Status.SUSPECT
            trace = np.zeros(1)
            return Trial("sweep", point, settings, nan, nan, nan, suspect, doubts, trace)

    slow = Slow()
    assert _descend(slow, SamplerSettings(n_beta=1.0), [None]) is None
    assert slow.tried == 2


def test_the_weights_are_put_back():
    model = Bowl()
    with torch.no_grad():
        model.w.fill_(0.5)
    _calibrate(model, points=[snapshots.take(Bowl())])
    assert torch.equal(model.w, torch.full((10,), 0.5, dtype=torch.float64))


def test_equal_generators_give_equal_answers():
    first, again = _calibrate(), _calibrate()
    assert first.settings == again.settings
    np.testing.assert_array_equal(first.trials[-1].trace, again.trials[-1].trace)


def test_where_nothing_passes_it_says_why():
    # A loss without a bottom: every chain slides down, whatever the settings.
    with pytest.raises(MetricError, match=r"none passed every check. Most often: .*minimum"):
        _calibrate(loss=lambda m, _: m.w.sum())


def test_nothing_to_try_is_refused():
    with pytest.raises(ConfigError, match=r"0 points, 1 n_betas.*at least 1 of each"):
        _calibrate(points=[])
