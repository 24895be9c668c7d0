"""Where λ̂ is measured: planted gradients of batches, and what they add at draws."""

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
    at_looks = estimate(chains, CONFIG)
    draws = replace(CONFIG, evaluate_on="minibatch")
    as_met = estimate(chains, draws).value + estimate(chains, draws).draws.step_bias_removed
    assert at_looks.status is Status.OK
    assert at_looks.se < 0.3
    assert abs(at_looks.value - DIMS / 2) < 3 * at_looks.se
    # halfway through an order the chain is off by (ε/4) nβ c_k, hence L_k by nβ² (ε/4) ‖c_k‖²; the
    # bowl itself brings it back by ε nβ h / 2 = 2.5 % a step: nearly as much
    excess = as_met - at_looks.value
    most = 100.0**2 * 5e-4 / 4 * variance
    assert most > 1.2
    assert 0.75 * most < excess < 1.1 * most
    # noise that is the same everywhere tilts no chain: what is foretold is half of it
    left = estimate(chains, draws).value - at_looks.value
    assert left == pytest.approx(excess - most / 2, abs=0.05 * most)


def test_batch_effects_cancel_at_full_data_evaluations():
    # Halfway through an order of K batches that differ by c_k the chain is off by (ε/2) nβ √K/2 c,
    # which lifts λ̂ by nβ/2 of its square; two thirds of that on average: 3.3 at looks anywhere.
    chains, variance = _chains(CONFIG, spread=2.0)
    anywhere = 100.0 / 2 * (5e-4 / 2 * 100.0) ** 2 * 8 / 4 * variance * 2 / 3
    assert anywhere > 3
    at_looks = estimate(chains, CONFIG)
    assert at_looks.se < 0.3
    assert abs(at_looks.value - DIMS / 2) < 3 * at_looks.se


def test_equal_batches_add_no_bias():
    few = replace(CONFIG, num_chains=8)
    chains, _ = _chains(few, spread=0.0)
    at_looks = estimate(chains, few)
    at_draws = estimate(chains, replace(few, evaluate_on="minibatch"))
    assert at_draws.value == pytest.approx(at_looks.value, abs=3 * at_looks.se)


def test_full_data_draws_are_means_over_all_batches(noisy):
    chains, _ = noisy
    draws = estimate(chains, CONFIG).draws
    assert draws.control_variate == "all"
    assert chains.full_batches == 8
    # the slopes cancel: nβ ‖w‖² / 2 is left
    np.testing.assert_allclose(draws.values, 50 * chains.squared_distance)


def test_chains_that_fail_at_evaluations_are_left_out(noisy):
    chains, _ = noisy
    lost = np.arange(32)[:, None] == 3
    broken = chains._replace(full_loss=np.where(lost, np.nan, chains.full_loss))
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
    """100 directions of curvature 1 and 100 flat ones under the pull: λ = 50 · 100 / 110."""
    curvature = torch.tensor([1.0, 0.0], dtype=torch.float64).repeat(100)
    chains, found = _in_bowl(curvature, localization=10.0, method="sgld", lr=lr, burnin=1000)
    config = SamplerConfig(method="sgld", n_beta=100.0, localization=10.0, lr=lr)
    config = replace(config, num_burnin_steps=1000)
    as_met = found.value + estimate(chains, config).draws.step_bias_removed
    truth = 50 / 1.1
    added = truth / (1 - lr * 110 / 4) - truth
    assert added > 4 * found.se
    assert abs(as_met - truth - added) < 3 * found.se
    assert abs(found.value - truth) < 3 * found.se
    assert found.status is Status.OK


def test_at_most_a_tenth_is_subtracted():
    curvature = torch.ones(50, dtype=torch.float64)
    chains, found = _in_bowl(curvature, localization=10.0, method="sgld", lr=0.02)
    config = SamplerConfig(method="sgld", n_beta=100.0, localization=10.0, lr=0.02)
    config = replace(config, num_burnin_steps=100)
    as_met = found.value + estimate(chains, config).draws.step_bias_removed
    assert estimate(chains, config).observables.step_bias > 0.4 * as_met
    assert found.value == pytest.approx(as_met / 1.1)
    assert WarningCode.STEP_BIAS in {warning.code for warning in found.warnings}


@pytest.mark.parametrize("method, lr", [("sgld", 0.0045), ("rmsprop_sgld", 0.0014)])
def test_a_bias_of_a_seventh_is_a_warning(method, lr):
    """Half of the directions are flat, as in real networks: no bound is near. Truth 22.7."""
    curvature = torch.tensor([1.0, 0.0], dtype=torch.float64).repeat(50)
    chains, found = _in_bowl(
        curvature, localization=10.0, method=method, lr=lr, num_chains=4, burnin=700
    )
    assert [warning.code for warning in found.warnings] == [WarningCode.STEP_BIAS]
    config = SamplerConfig(method=method, n_beta=100.0, localization=10.0, lr=lr)
    config = replace(config, num_burnin_steps=700)
    as_met = found.value + estimate(chains, config).draws.step_bias_removed
    assert 25.5 < as_met < 28
    assert estimate(chains, config).observables.step_bias == pytest.approx(as_met - 22.73, rel=0.25)


def _in_noisy_bowl(lr, *, num_batches=8, localization=10.0, burnin=None):
    """Batches agree on the minimum and differ in curvature: no gradient noise at w*, much around.

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
    """By the noise at w*, of which there is none, nothing was to be added."""
    chains, config = _in_noisy_bowl(lr)
    truth, found = 25 / 1.1, estimate(chains, config)
    added = found.value + estimate(chains, config).draws.step_bias_removed - truth
    assert estimate(chains, config).observables.step_bias == pytest.approx(added, rel=0.3)
    assert added > 4 * found.se
    assert abs(found.value - truth) < 3 * found.se


def test_minibatch_bias_is_small_under_strong_localization():
    """A step forgets εγ/2 = .9, an order has 32: no draw misses its batch, and the pull cools."""
    chains, config = _in_noisy_bowl(1.8e-3, num_batches=32, localization=1000.0, burnin=20)
    truth, found = 25 / 11, estimate(chains, config)
    noise = 0.9**2 * 50 / 1100  # E Σ (h_m − h)² w²
    as_a_whole = config.lr / 8 * 100**2 * noise
    assert as_a_whole > 5 * found.se
    assert 0 < estimate(chains, config).observables.step_bias < 0.2 * as_a_whole
    assert abs(found.value - truth) < 3 * found.se


@pytest.mark.parametrize("localization", [1.0, 30.0, 100.0, 1000.0])
def test_localization_share_is_exact_for_equal_curvatures(localization):
    # s = 100 / (100 + γ) is left of λ; 64 draws of 200 directions know the rise to 1.3 %
    chains, found = _in_bowl(torch.ones(200, dtype=torch.float64), localization=localization)
    lost = localization / (100 + localization)
    assert chains.prior_loss_increase == pytest.approx(100 / localization, rel=0.04)
    assert found.value == pytest.approx(100 * (1 - lost), rel=0.03)
    assert localization_share(chains, found.value) == pytest.approx(lost, rel=0.06)


@pytest.mark.parametrize("localization", [10.0, 100.0])
def test_localization_share_is_a_lower_bound_for_unequal_curvatures(localization):
    curvature = torch.logspace(-2, 1, 60, dtype=torch.float64)
    chains, found = _in_bowl(curvature, localization=localization)
    left = float((100 * curvature / (100 * curvature + localization)).mean())
    assert found.value == pytest.approx(30 * left, rel=0.1)
    assert 0 < localization_share(chains, found.value) < 1 - left


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
    gone = np.arange(32)[:, None] == 3
    broken = chains._replace(
        loss=np.where(gone, 1e6, chains.loss),
        virial=np.where(gone, 1e9, chains.virial),
        squared_gradient=np.where(gone, 1e9, chains.squared_gradient),
    )
    without = estimate(chains, config).observables.step_bias
    assert without > 0
    assert estimate(broken, config).observables.step_bias == pytest.approx(without, rel=0.02)


def test_gradient_change_of_a_large_step_is_not_batch_noise():
    """Equal batches: a step forgets εnβh/2 = .3 of the gradient, and they add nothing."""
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
