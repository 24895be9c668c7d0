import numpy as np
import pytest
from arviz_stats.base.array import array_stats
from scipy.signal import lfilter

from devtrack.errors import ConfigError
from devtrack.records import Status
from devtrack.sampling.diagnostics import (
    TOO_LARGE_STEP,
    TOO_SMALL_STEP,
    ChainObservables,
    CheckInputs,
    DiagnosticsConfig,
    WarningCode,
    diagnose,
)
from devtrack.sampling.diagnostics import _diagnose as diagnose_module
from devtrack.sampling.diagnostics import _statistics as statistics


def _gamma_draws(value=10.0, *, chains=4, draws=500, seed=0):
    return np.random.default_rng(seed).gamma(value, size=(chains, draws))


def _slow_gamma_draws(num_squares=20, *, chains=4, draws=500, memory=0.9, seed=0):
    """Return ½ Σ x_i² of AR(1) processes: Gamma(num_squares / 2, 1) with autocorrelation."""
    rng = np.random.default_rng(seed)
    shocks = rng.normal(size=(chains, num_squares, draws + 200)) * np.sqrt(1 - memory**2)
    x = lfilter([1], [1, -memory], shocks, axis=-1)[..., 200:]
    return 0.5 * np.square(x).sum(1)


def _diagnose(signal, full_signal=None, *, num_parameters=100):
    full = signal if full_signal is None else full_signal
    return diagnose(signal, full, num_parameters=num_parameters)


def test_gamma_draws_are_ok_and_their_mean_is_the_value():
    found = _diagnose(_gamma_draws())
    assert found.status is Status.OK, found.reasons
    assert found.value == pytest.approx(10.0, abs=4 * found.se)
    assert found.se == pytest.approx(np.sqrt(10 / 2000), rel=0.1)  # independent draws
    assert found.gamma_ratio == pytest.approx(1.0, abs=0.1)
    assert found.rhat == pytest.approx(1.0, abs=0.01)


def test_numbers_are_those_of_arviz():
    signal = _slow_gamma_draws()
    found = _diagnose(signal)
    assert found.rhat == pytest.approx(array_stats.rhat(signal, chain_axis=0, draw_axis=1))
    ess = array_stats.ess(signal, chain_axis=0, draw_axis=1, method="mean")
    assert found.ess == pytest.approx(ess)
    mcse = array_stats.mcse(signal, chain_axis=0, draw_axis=1, method="mean")
    assert found.mcse == pytest.approx(mcse)


@pytest.mark.parametrize("memory", [0.0, 0.9, 0.97])
def test_the_interval_has_its_nominal_coverage(memory):
    # 300 estimates: binomial sd 1.3 % around 95 %
    errors, claims, unwidened = [], [], []
    for seed in range(300):
        found = _diagnose(_slow_gamma_draws(memory=memory, draws=300, seed=seed))
        errors.append(abs(found.value - 10.0))
        claims.append(found.se)
        unwidened.append(found.mcse)
    covered = np.mean(np.array(errors) < 1.96 * np.array(claims))
    assert 0.91 <= covered <= 0.98
    # the fewer effective draws, the larger the uncertainty of the error
    assert covered >= np.mean(np.array(errors) < 1.96 * np.array(unwidened))


def test_batch_noise_does_not_mask_a_slow_part():
    """Draws as those of the modular MLP: autocorrelations of the draws alone cover too little."""
    errors, claims = [], []
    for seed in range(200):
        slow = _slow_gamma_draws(memory=0.98, draws=400, seed=seed)
        noise = np.random.default_rng(1000 + seed).normal(scale=15, size=slow.shape)
        found = diagnose(slow + noise, slow[:, ::14], num_parameters=100)
        errors.append(abs(found.value - 10.0))
        claims.append(found.se)
    assert 0.91 <= np.mean(np.array(errors) < 1.96 * np.array(claims)) <= 0.98


def test_an_error_from_few_effective_draws_is_inflated():
    few, many = _diagnose(_slow_gamma_draws(memory=0.97, draws=300)), _diagnose(_gamma_draws())
    assert few.se / few.mcse == pytest.approx(statistics.student_t_inflation(few.ess))
    assert few.ess < 60 and few.se > 1.15 * few.mcse
    assert many.ess > 1000 and many.se < 1.01 * many.mcse


def test_errors_are_as_uncertain_as_their_inflation_assumes():
    # sd of 200 spreads: 5 %; the rule holds within a third (``draws_per_degree_of_freedom``)
    found = [_diagnose(_slow_gamma_draws(draws=300, seed=seed)) for seed in range(200)]
    spread = np.std([one.mcse for one in found]) / np.mean([one.mcse for one in found])
    ess = np.median([one.ess for one in found])
    freedom = ess / DiagnosticsConfig().draws_per_degree_of_freedom
    assert spread == pytest.approx(1 / np.sqrt(2 * freedom), rel=0.35)


@pytest.mark.parametrize("memory", [0.0, 0.9])
def test_good_chains_rarely_raise_a_warning(memory):
    warnings = [
        _diagnose(_slow_gamma_draws(memory=memory, draws=300, seed=seed)).reasons
        for seed in range(200)
    ]
    assert np.mean([bool(reasons) for reasons in warnings]) <= 0.05


def test_a_tiny_spread_is_not_taken_for_a_constant():
    # arviz-stats answers "all draws independent" below a spread of 1e-15.
    signal = _slow_gamma_draws()
    found, tiny = _diagnose(signal), _diagnose(1e-17 * signal)
    assert tiny.ess == pytest.approx(found.ess)


def test_a_non_finite_chain_is_left_out_and_named():
    signal = _gamma_draws()
    signal[1, 300:] = np.nan
    signal[3, 0] = np.inf
    found = _diagnose(signal)
    assert found.value == pytest.approx(signal[[0, 2]].mean())
    assert found.status is Status.SUSPECT
    assert found.reasons[0].startswith("2 of 4 chains non-finite: lr")
    assert np.isnan(found.chain_values[1]) and np.isnan(found.chain_values[3])


def test_a_chain_with_a_non_finite_evaluation_is_left_out():
    signal = _gamma_draws()
    full = signal.copy()
    full[0, -1] = np.nan
    found = _diagnose(signal, full)
    assert found.value == pytest.approx(signal[1:].mean())
    assert np.isfinite(found.gamma_ratio)


def test_a_diverged_chain_is_left_out_and_named():
    signal = _gamma_draws()
    signal[2] *= 1e6
    found = _diagnose(signal)
    assert found.value == pytest.approx(signal[[0, 1, 3]].mean())
    assert found.status is Status.SUSPECT
    assert found.reasons[0].startswith("1 of 4 chains diverged")


def test_no_chain_left_is_failed_without_a_number():
    found = _diagnose(np.full((4, 50), np.nan))
    assert found.status is Status.FAILED
    assert np.isnan(found.value) and np.isnan(found.se)
    assert "4 of 4 chains non-finite" in found.reasons[0]


def _reason(found):
    assert found.status is Status.SUSPECT
    return " | ".join(found.reasons)


def test_disagreeing_chains_raise_a_warning_and_the_error():
    signal = _gamma_draws() + np.array([0.0, 5.0, 10.0, 15.0])[:, None]
    found = _diagnose(signal)
    assert "R-hat" in _reason(found)
    assert found.se > 1.0  # the spread of the means is 6.5, over four chains 3.2


def test_slow_chains_raise_a_warning():
    found = _diagnose(_slow_gamma_draws(memory=0.999))
    assert "effective draws" in _reason(found)


def test_a_rising_loss_raises_a_warning():
    signal = _gamma_draws() * np.linspace(0.5, 1.5, 500)
    assert "still drifting after burn-in" in _reason(_diagnose(signal))


def test_draws_below_the_anchor_raise_a_warning():
    found = _diagnose(_gamma_draws() - 12.0)
    assert found.value < 0
    assert "not a minimum" in _reason(found)
    assert np.isnan(found.gamma_ratio)


def test_a_value_above_half_the_parameters_raises_a_warning():
    found = _diagnose(_gamma_draws(), num_parameters=12)
    assert "exceeds its bound parameters / 2 = 6" in _reason(found)


def test_too_much_and_too_little_spread_raise_a_warning():
    wide = 10 + 10 * np.random.default_rng(0).normal(size=(4, 500))  # Var/mean 10
    assert "Gamma ratio 10" in _reason(_diagnose(wide))
    narrow = 10 + 0.1 * np.random.default_rng(0).normal(size=(4, 500))  # Var/mean 0.001
    assert "Gamma ratio 0.00" in _reason(_diagnose(narrow))


def test_constant_chains_raise_one_quality_warning_and_no_python_warning():
    found = _diagnose(np.zeros((4, 50)))
    assert "never changed: n_beta is 0, the loss does not depend" in _reason(found)


def test_one_chain_is_refused_unless_checks_are_off():
    signal = _gamma_draws(chains=1)
    with pytest.raises(ConfigError) as caught:
        _diagnose(signal)
    assert str(caught.value) == (
        'num_chains=1: R-hat needs at least 2 chains. Use num_chains=4, or diagnostics="off".'
    )
    found = diagnose(signal, signal, num_parameters=100, checks="off")
    assert found.status is Status.OK
    assert found.value == pytest.approx(signal.mean())


def test_a_negative_estimate_is_never_ok():
    """It must enter no detection, with or without checks."""
    signal = -_gamma_draws(chains=1)
    found = diagnose(signal, signal, num_parameters=100, checks="off")
    assert found.status is Status.SUSPECT
    assert [warning.code for warning in found.warnings] == [WarningCode.NEGATIVE_LLC]


def test_gamma_ratio_has_the_standard_error_it_claims():
    ratios = [statistics.gamma_ratio(_gamma_draws(4.0, draws=100, seed=s)) for s in range(400)]
    claimed = statistics.gamma_ratio_se(4.0, 400)
    assert np.std(ratios) == pytest.approx(claimed, rel=0.12)  # sd of 400: 3.5 %, and O(1/n) terms


def _with(
    *,
    first_order=0.0,
    step_bias=0.0,
    localization_virial=0.1,
    equilibrated_fraction=1.0,
    anharmonic=0.0,
    value=10.0,
):
    signal = _gamma_draws(value)
    first_orders = first_order + np.random.default_rng(1).normal(size=(4, 25)) * 0.1
    observables = ChainObservables(
        first_orders,
        step_bias,
        localization_virial,
        equilibrated_fraction,
        np.zeros_like(signal) + anharmonic,
    )
    return diagnose(signal, signal, num_parameters=100, observables=observables)


def test_good_observables_raise_no_warning():
    found = _with()
    assert found.status is Status.OK, found.reasons


def test_a_gradient_at_the_anchor_raises_a_warning():
    found = _with(first_order=-1.0)  # a tenth of the value, its own error a hundredth
    assert found.value > 0
    assert "the slope at w* lowers λ̂ by about 1: w* is not a minimum" in _reason(found)


def test_a_gradient_within_its_error_raises_no_warning():
    signal = _gamma_draws()
    first_orders = np.random.default_rng(0).normal(-1.0, 10.0, size=(4, 25))
    observables = ChainObservables(first_orders, 0.0, 0.1, 1.0, np.zeros_like(signal))
    found = diagnose(signal, signal, num_parameters=100, observables=observables)
    assert found.status is Status.OK, found.reasons


def test_a_step_bias_raises_a_warning():
    assert "the step size adds about 5 to λ̂: lr too large" in _reason(_with(step_bias=5.0))


def test_repelled_chains_raise_a_warning():
    assert "4.0 times farther from w* than localization" in _reason(_with(localization_virial=4.0))


def test_unknown_observables_raise_no_warning():
    signal = _gamma_draws()
    unknown = ChainObservables(
        np.full((4, 25), np.nan), np.nan, np.nan, np.nan, np.full((4, 500), np.nan)
    )
    for observables in (unknown, ChainObservables(), None):
        found = diagnose(signal, signal, num_parameters=100, observables=observables)
        assert found.status is Status.OK, found.reasons


@pytest.mark.parametrize("known", ChainObservables._fields)
def test_an_observable_is_judged_without_the_others(known):
    """Each at a value that raises no warning, so that none comes from what was left out."""
    good = {"step_bias": 0.0, "localization_virial": 0.1, "equilibrated_fraction": 1.0}
    signal = _gamma_draws()
    value = good.get(known, np.zeros((4, 500)))
    observables = ChainObservables(**{known: value})
    found = diagnose(signal, signal, num_parameters=100, observables=observables)
    assert found.status is Status.OK, found.reasons


def test_checks_read_the_observables_as_they_were_given(monkeypatch):
    """There is one declaration of them: a new one needs no line in between."""
    read = []
    monkeypatch.setattr(
        diagnose_module, "run_checks", lambda inputs, **_: read.append(inputs) or ()
    )
    signal = _gamma_draws()
    signal[1, 0] = np.nan
    rng = np.random.default_rng(0)
    given = ChainObservables(rng.normal(size=(4, 25)), 1.0, 2.0, 3.0, rng.normal(size=(4, 500)))
    diagnose(signal, signal, num_parameters=100, observables=given)
    (inputs,) = read
    assert not set(CheckInputs._fields) & set(ChainObservables._fields)
    for name, value in given._asdict().items():
        expected = np.delete(value, 1, axis=0) if isinstance(value, np.ndarray) else value
        np.testing.assert_array_equal(getattr(inputs.observables, name), expected, err_msg=name)


def test_directions_without_equilibrium_raise_a_warning():
    assert _with(equilibrated_fraction=0.8).status is Status.OK
    assert "40% of the directions have not reached equilibrium: chains still" in _reason(
        _with(equilibrated_fraction=0.6)
    )


def test_without_a_prior_nearly_all_directions_must_equilibrate():
    assert "without localization nothing confines" in _reason(
        _with(equilibrated_fraction=0.8, localization_virial=0.0)
    )
    assert _with(equilibrated_fraction=0.95, localization_virial=0.0).status is Status.OK


def test_an_equilibrated_fraction_within_its_error_raises_no_warning():
    wild = np.random.default_rng(0).normal(scale=2000.0, size=(4, 500))  # error of the share: 0.9
    assert _with(equilibrated_fraction=0.0, anharmonic=wild).status is Status.OK


def test_escaping_chains_raise_a_warning():
    growing = np.linspace(0, 6, 500) + np.random.default_rng(0).normal(size=(4, 500))
    assert "keep leaving the neighbourhood" in _reason(_with(anharmonic=growing))
    assert _with(anharmonic=growing / 3).status is Status.OK  # a tenth of the value


def _codes(found):
    return [warning.code for warning in found.warnings]


def test_every_check_has_its_code():
    signal = _gamma_draws()
    non_finite, diverged = signal.copy(), signal.copy()
    non_finite[1, 300:] = np.nan
    diverged[2] *= 1e6
    wide = 10 + 10 * np.random.default_rng(0).normal(size=(4, 500))
    growing = np.linspace(0, 6, 500) + np.random.default_rng(0).normal(size=(4, 500))
    planted = {
        WarningCode.NON_FINITE: _diagnose(non_finite),
        WarningCode.DIVERGED: _diagnose(diverged),
        WarningCode.CONSTANT: _diagnose(np.zeros((4, 50))),
        WarningCode.HIGH_RHAT: _diagnose(signal + np.array([0.0, 5.0, 10.0, 15.0])[:, None]),
        WarningCode.LOW_ESS: _diagnose(_slow_gamma_draws(memory=0.999)),
        WarningCode.GAMMA_RATIO_HIGH: _diagnose(wide),
        WarningCode.GAMMA_RATIO_LOW: _diagnose(
            10 + 0.1 * np.random.default_rng(0).normal(size=(4, 500))
        ),
        WarningCode.DRIFT: _diagnose(signal * np.linspace(0.5, 1.5, 500)),
        WarningCode.NEGATIVE_LLC: _diagnose(signal - 12.0),
        WarningCode.NONZERO_GRADIENT: _with(first_order=-1.0),
        WarningCode.STEP_BIAS: _with(step_bias=5.0),
        WarningCode.REPELLED: _with(localization_virial=4.0),
        WarningCode.NOT_EQUILIBRATED: _with(equilibrated_fraction=0.6),
        WarningCode.ESCAPING: _with(anharmonic=growing),
        WarningCode.ABOVE_BOUND: _diagnose(signal, num_parameters=12),
    }
    assert set(planted) == set(WarningCode) - {
        WarningCode.LEFT_BASIN,
        WarningCode.LOCALIZATION_DOMINATED,
    }  # those of calibration
    for code, found in planted.items():
        assert code in _codes(found), (code, found.reasons)
    assert _diagnose(signal).warnings == ()


def test_reasons_are_plain_sentences_as_a_store_keeps_them():
    found = _with(localization_virial=4.0)
    assert [type(reason) for reason in found.reasons] == [str]
    assert found.reasons[0].endswith("raise localization, or lower n_beta")


def test_no_step_is_both_too_large_and_too_small():
    assert not TOO_LARGE_STEP & TOO_SMALL_STEP
