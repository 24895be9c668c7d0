"""Estimates on quadratics with planted batch gradients, and the bias at draws."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from devtrack.metrics import LLC
from devtrack.metrics.metric import Subject
from devtrack.records import Status
from devtrack.sampling import _discretization_bias as bias_module
from devtrack.sampling import estimator
from devtrack.sampling._localization import localization_share
from devtrack.sampling.config import SamplerConfig
from devtrack.sampling.diagnostics import diagnose
from devtrack.sampling.diagnostics.warning_codes import WarningCode
from devtrack.sampling.estimator import estimate
from devtrack.sampling.kernels import Sgld
from devtrack.sampling.sampler import sample

CONFIG = SamplerConfig(
    method="lm_sgld",
    n_beta=100.0,
    localization=1e-3,
    lr=5e-4,
    num_chains=32,
    num_draws=250,
    num_burnin_steps=120,
    evaluate_on="full_data",
)
DIMS = 20


class Point(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(DIMS, dtype=torch.float64))


def _chains(config, *, num_batches=8, spread=0.25):
    """L_k = ½ ‖w‖² + c_k·w with Σ c_k = 0: λ = DIMS / 2, whatever the c_k."""
    slopes = torch.randn(
        num_batches, DIMS, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    )
    slopes = spread * (slopes - slopes.mean(0))
    chains = sample(
        Point(),
        lambda model, slope: 0.5 * model.w.square().sum() + slope[0] @ model.w,
        [slope[None] for slope in slopes],
        config=config,
        generator=torch.Generator().manual_seed(0),
    )
    return chains, float(slopes.square().sum(1).mean())


@pytest.fixture(scope="module")
def noisy():
    return _chains(CONFIG)


def test_full_data_evaluations_have_no_minibatch_bias(noisy):
    chains, variance = noisy
    on_full_data = estimate(chains, CONFIG)
    draws = replace(CONFIG, evaluate_on="minibatch")
    uncorrected = estimate(chains, draws).value + estimate(chains, draws).draws.step_bias_removed
    assert on_full_data.status is Status.OK
    assert on_full_data.se < 0.3
    assert abs(on_full_data.value - DIMS / 2) < 3 * on_full_data.se
    # halfway through an order the chain is displaced by (ε/4) nβ c_k, hence L_k by nβ² (ε/4)
    # ‖c_k‖²; the quadratic decays that by ε nβ h / 2 = 2.5 % a step, so nearly all of it remains
    excess = uncorrected - on_full_data.value
    most = 100.0**2 * 5e-4 / 4 * variance
    assert most > 1.2
    assert 0.75 * most < excess < 1.1 * most
    # gradient noise that is equal everywhere shifts no chain: the prediction is half of the bias
    remaining = estimate(chains, draws).value - on_full_data.value
    assert remaining == pytest.approx(excess - most / 2, abs=0.05 * most)


def test_batch_effects_cancel_at_full_data_evaluations():
    # Halfway through an order of K batches that differ by c_k the chain is off by (ε/2) nβ √K/2 c,
    # which raises λ̂ by nβ/2 of its square; on average by two thirds of that: 3.3 at any step.
    chains, variance = _chains(CONFIG, spread=2.0)
    anywhere = 100.0 / 2 * (5e-4 / 2 * 100.0) ** 2 * 8 / 4 * variance * 2 / 3
    assert anywhere > 3
    on_full_data = estimate(chains, CONFIG)
    assert on_full_data.se < 0.3
    assert abs(on_full_data.value - DIMS / 2) < 3 * on_full_data.se


def test_equal_batches_add_no_bias():
    few = replace(CONFIG, num_chains=8)
    chains, _ = _chains(few, spread=0.0)
    on_full_data = estimate(chains, few)
    at_draws = estimate(chains, replace(few, evaluate_on="minibatch"))
    assert at_draws.value == pytest.approx(on_full_data.value, abs=3 * on_full_data.se)


def test_full_data_draws_are_means_over_all_batches(noisy):
    chains, _ = noisy
    draws = estimate(chains, CONFIG).draws
    assert draws.control_variate == "all"
    assert chains.full_batches == 8
    # the slopes cancel: nβ ‖w‖² / 2 is left
    np.testing.assert_allclose(draws.values, 50 * chains.squared_distance)


def test_chains_that_fail_at_evaluations_are_left_out(noisy):
    chains, _ = noisy
    share = np.arange(32)[:, None] == 3
    broken = chains._replace(full_loss=np.where(share, np.nan, chains.full_loss))
    found = estimate(broken, CONFIG)
    assert found.status is Status.SUSPECT and "1 of 32 chains" in found.reasons[0]
    assert found.value == pytest.approx(
        np.delete(estimate(chains, CONFIG).draws.values, 3, 0).mean()
    )


class Bowl(nn.Module):
    def __init__(self, dims):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(dims, dtype=torch.float64))


def _in_bowl(
    curvature,
    *,
    localization,
    method="lm_sgld",
    lr=None,
    num_chains=32,
    burnin=100,
):
    config = SamplerConfig(
        method=method,  # LM-SGLD is exact on quadratics
        n_beta=100.0,
        localization=localization,
        lr=lr or 1 / (100.0 * float(curvature.max()) + localization),
        num_chains=num_chains,
        num_draws=400,
        num_burnin_steps=burnin,
    )
    chains = sample(
        Bowl(len(curvature)),
        lambda model, _: 0.5 * (curvature * model.w.square()).sum(),
        [torch.zeros(2)],
        config=config,
        generator=torch.Generator().manual_seed(0),
    )
    return chains, estimate(chains, config)


@pytest.mark.parametrize("lr", [0.001, 0.002, 0.003])
def test_step_bias_is_subtracted(lr):
    """100 directions of curvature 1 and 100 flat ones under the prior: λ = 50 · 100 / 110."""
    curvature = torch.tensor([1.0, 0.0], dtype=torch.float64).repeat(100)
    _, found = _in_bowl(curvature, localization=10.0, method="sgld", lr=lr, burnin=1000)
    uncorrected = found.value + found.draws.step_bias_removed
    truth = 50 / 1.1
    added = truth / (1 - lr * 110 / 4) - truth
    assert added > 4 * found.se
    assert abs(uncorrected - truth - added) < 3 * found.se
    assert abs(found.value - truth) < 3 * found.se
    assert found.status is Status.OK


def test_at_most_a_tenth_is_subtracted():
    curvature = torch.ones(50, dtype=torch.float64)
    _, found = _in_bowl(curvature, localization=10.0, method="sgld", lr=0.02)
    uncorrected = found.value + found.draws.step_bias_removed
    assert found.observables.step_bias > 0.4 * uncorrected
    assert found.value == pytest.approx(uncorrected / 1.1)
    assert WarningCode.STEP_BIAS in {warning.code for warning in found.warnings}


class _Underived(Sgld):
    step_size_bias = "unknown"


def test_an_unknown_step_bias_is_not_called_zero_or_a_fault(monkeypatch):
    curvature = torch.ones(50, dtype=torch.float64)
    chains, known = _in_bowl(curvature, localization=10.0, method="sgld", lr=0.02)
    monkeypatch.setattr(bias_module, "kernel_class", lambda method: _Underived)
    config = SamplerConfig(method="sgld", n_beta=100.0, localization=10.0, lr=0.02)
    for evaluate_on in ("minibatch", "full_data"):
        config = replace(config, num_burnin_steps=100, evaluate_on=evaluate_on)
        found = estimate(chains, config)
        assert np.isnan(found.observables.step_bias)
        assert (found.draws.step_bias_removed, found.draws.removed_se) == (0, 0)
        assert WarningCode.STEP_BIAS not in {warning.code for warning in found.warnings}
    uncorrected = known.value + known.draws.step_bias_removed
    config = replace(config, evaluate_on="minibatch")
    assert estimate(chains, config).value == pytest.approx(uncorrected, rel=1e-6)


def test_no_step_bias_is_a_known_zero():
    """On a quadratic LM-SGLD is exact at every stable step size, and one batch has no noise."""
    curvature = torch.ones(50, dtype=torch.float64)
    _, found = _in_bowl(curvature, localization=10.0, method="lm_sgld", lr=0.02)
    assert found.observables.step_bias == 0
    assert abs(found.value - 25 / 1.1) < 3 * found.se


@pytest.mark.parametrize("method, lr", [("sgld", 0.0045), ("rmsprop_sgld", 0.0014)])
def test_a_bias_of_a_seventh_is_a_warning(method, lr):
    """Half of the directions are flat, as in real networks: λ̂ is far from its bound. Truth 22.7."""
    curvature = torch.tensor([1.0, 0.0], dtype=torch.float64).repeat(50)
    _, found = _in_bowl(
        curvature, localization=10.0, method=method, lr=lr, num_chains=4, burnin=700
    )
    assert [warning.code for warning in found.warnings] == [WarningCode.STEP_BIAS]
    uncorrected = found.value + found.draws.step_bias_removed
    assert 25.5 < uncorrected < 28
    assert found.observables.step_bias == pytest.approx(uncorrected - 22.73, rel=0.25)


def _in_noisy_bowl(lr, *, num_batches=8, localization=10.0, burnin=None):
    """Batches share the minimum and differ in curvature: gradient noise is 0 at w* only.

    Truth: 50 directions of curvature 1, λ = 25 · 100 / (100 + γ).
    """
    spread = np.random.default_rng(0).choice([0.1, 1.9], (num_batches // 2, 50))
    curvatures = torch.tensor(np.concatenate([spread, 2.0 - spread]))
    config = SamplerConfig(
        method="lm_sgld",
        n_beta=100.0,
        localization=localization,
        lr=lr,
        num_chains=32,
        num_draws=800,
        num_burnin_steps=burnin or round(1 / lr),
    )
    chains = sample(
        Bowl(50),
        lambda model, batch: 0.5 * (batch[0] * model.w.square()).sum(),
        [row[None] for row in curvatures],
        config=config,
        generator=torch.Generator().manual_seed(0),
    )
    return chains, config


@pytest.mark.parametrize("lr", [0.002, 0.004])
def test_minibatch_bias_is_predicted_and_subtracted(lr):
    """The gradient noise at w* is 0, so a prediction from there would be 0."""
    chains, config = _in_noisy_bowl(lr)
    truth, found = 25 / 1.1, estimate(chains, config)
    added = found.value + found.draws.step_bias_removed - truth
    assert found.observables.step_bias == pytest.approx(added, rel=0.3)
    assert added > 4 * found.se
    assert abs(found.value - truth) < 3 * found.se


def test_minibatch_bias_is_small_under_strong_localization():
    """A step decays by εγ/2 = 0.9, and an order has 32 batches: chains forget it at once."""
    chains, config = _in_noisy_bowl(1.8e-3, num_batches=32, localization=1000.0, burnin=20)
    truth, found = 25 / 11, estimate(chains, config)
    noise = 0.9**2 * 50 / 1100  # E Σ (h_m − h)² w²
    as_a_whole = config.lr / 8 * 100**2 * noise
    assert as_a_whole > 5 * found.se
    assert 0 < found.observables.step_bias < 0.2 * as_a_whole
    assert abs(found.value - truth) < 3 * found.se


@pytest.mark.parametrize("localization", [1.0, 30.0, 100.0, 1000.0])
def test_localization_share_is_exact_for_equal_curvatures(localization):
    # s = 100 / (100 + γ) remains of λ; 64 draws of 200 directions give the increase within 1.3 %
    chains, found = _in_bowl(torch.ones(200, dtype=torch.float64), localization=localization)
    share = localization / (100 + localization)
    assert chains.prior_loss_increase == pytest.approx(100 / localization, rel=0.04)
    assert found.value == pytest.approx(100 * (1 - share), rel=0.03)
    assert localization_share(chains, found.value) == pytest.approx(share, rel=0.06)


@pytest.mark.parametrize("localization", [10.0, 100.0])
def test_localization_share_is_a_lower_bound_for_unequal_curvatures(localization):
    curvature = torch.logspace(-2, 1, 60, dtype=torch.float64)
    chains, found = _in_bowl(curvature, localization=localization)
    remaining = float((100 * curvature / (100 * curvature + localization)).mean())
    assert found.value == pytest.approx(30 * remaining, rel=0.1)
    assert 0 < localization_share(chains, found.value) < 1 - remaining


def test_localization_share_is_unknown_without_a_prior_or_an_increase(noisy):
    chains, _ = noisy
    assert np.isnan(localization_share(_in_bowl(torch.ones(2), localization=0.0)[0], 1.0))
    assert np.isnan(localization_share(chains._replace(prior_loss_increase=-1.0), 1.0))
    assert np.isnan(localization_share(chains._replace(n_beta=0.0), 0.0))


def test_a_failed_chain_does_not_affect_the_bias():
    curvature = torch.ones(50, dtype=torch.float64)
    chains, _ = _in_bowl(curvature, localization=10.0, method="sgld", lr=0.002)
    config = SamplerConfig(method="sgld", n_beta=100.0, localization=10.0, lr=0.002)
    config = replace(config, num_burnin_steps=100)
    failed = np.arange(32)[:, None] == 3
    broken = chains._replace(
        loss=np.where(failed, 1e6, chains.loss),
        virial=np.where(failed, 1e9, chains.virial),
        squared_gradient=np.where(failed, 1e9, chains.squared_gradient),
    )
    without = estimate(chains, config).observables.step_bias
    assert without > 0
    assert estimate(broken, config).observables.step_bias == pytest.approx(without, rel=0.02)


def test_gradient_change_of_a_large_step_is_not_batch_noise():
    """Equal batches have no noise, though a step changes the gradient by εnβh/2 = 0.3 of it."""
    large = replace(CONFIG, lr=6e-3, evaluate_on="minibatch", num_burnin_steps=20)
    chains, _ = _chains(large, spread=0.0)
    found = estimate(chains, large)
    by_sgld = estimate(chains, replace(large, method="sgld")).observables.step_bias
    assert by_sgld > 0.1 * found.value
    assert estimate(chains, large).observables.step_bias < 0.01 * found.value
    assert abs(found.value - DIMS / 2) < 3 * found.se


def test_the_standard_error_contains_that_of_the_subtracted_bias(noisy):
    chains, _ = noisy
    draws = replace(CONFIG, evaluate_on="minibatch", num_chains=32)
    found = estimate(chains, draws)
    bare = diagnose(found.draws.values, chains.full_loss, num_parameters=DIMS)
    removed = found.draws.removed_se
    assert removed > 0.001
    assert estimate(chains, draws).se == pytest.approx(np.hypot(bare.se, removed))


def test_an_llc_computes_every_quantity_once(monkeypatch):
    counts = {}

    def counted(name):
        function = getattr(estimator, name)
        counts[name] = 0

        def count(*args, **options):
            counts[name] += 1
            return function(*args, **options)

        return count

    for name in (
        "failed_chains",
        "paired_draws",
        "apply_control_variates",
        "discretization_bias",
        "observables",
        "diagnose",
        "localization_share",
    ):
        monkeypatch.setattr(estimator, name, counted(name))
    monkeypatch.setattr(bias_module, "localization_share", estimator.localization_share)
    batches = [torch.full((1, DIMS), slope, dtype=torch.float64) for slope in (-1.0, 1.0)]
    subject = Subject(
        Point(),
        0,
        batches,
        lambda model, slope: 0.5 * model.w.square().sum() + slope[0] @ model.w,
        torch.Generator().manual_seed(0),
    )
    list(LLC(lr=1e-3, n_beta=100.0, num_draws=20, num_burnin_steps=5).compute(subject))
    # two quantities: the share of the recorded draws, for the bias, and the share of λ̂
    assert counts.pop("localization_share") == 2
    assert set(counts.values()) == {1}, counts
