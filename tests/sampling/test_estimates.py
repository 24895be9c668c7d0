"""Planted chains: what the choice of batches adds, and what the control variate takes away."""

import numpy as np
import pytest

from devtrack.sampling.chains import Chains
from devtrack.sampling.estimates import estimate, quiet_signal
from devtrack.sampling.settings import SamplerSettings

SETTINGS = SamplerSettings(num_burnin_steps=10, n_beta=30.0)


def _chains(*, seed=0, memory=0.0, num_batches=40, num_draws=100, scale=1.0):
    """L_k(w_t) = 3 + memory · (L_k(w*) − L(w*)) + noise: at memory 1 the pairs are quiet."""
    rng = np.random.default_rng(seed)
    at_center = np.random.default_rng(99).normal(2.0, 0.5, num_batches)
    steps = SETTINGS.num_burnin_steps + num_draws
    order = rng.integers(num_batches, size=(4, steps))
    baseline = at_center[order]
    noise = 0.05 * rng.normal(size=order.shape)
    mean = at_center.mean()
    loss = scale * (3 + memory * (baseline - mean) + noise)
    looks = np.full((4, 8), 3.0)
    return Chains(
        loss=loss,
        baseline=baseline,
        full_loss=looks,
        full_baseline=float(mean),
        data_baseline=float(mean),
        squared_distance=looks,
        first_order=0 * looks,
        squared_gradient=looks,
        gradient_noise=0.0,
        n_beta=30.0,
        samples_per_batch=4,
        num_batches=num_batches,
        full_batches=num_batches,
        num_parameters=200,
        engine="planted",
        note="",
    )


def _truth(chains):
    return 30.0 * (3 - chains.data_baseline)


@pytest.mark.parametrize(("memory", "control"), [(0.0, -1.0), (0.5, -0.5), (1.0, 0.0)])
def test_the_control_is_what_the_baseline_foretells_of_the_pair(memory, control):
    signal = quiet_signal(_chains(memory=memory), num_burnin_steps=10)
    # 400 draws, noise a tenth of the spread over batches: known to .1 / √400 = .005
    assert signal.control == pytest.approx(control, abs=0.02)
    assert signal.values.std() == pytest.approx(30 * 0.05, rel=0.1)


def test_far_from_the_center_the_estimate_loses_the_noise_of_the_batches():
    many = [_chains(seed=seed) for seed in range(60)]
    quiet = np.array([quiet_signal(c, num_burnin_steps=10).values.mean() for c in many])
    plain = np.array([30 * (c.loss - c.baseline)[:, 10:].mean() for c in many])
    truth = _truth(many[0])
    assert plain.std() > 5 * quiet.std()
    # 60 repeats: a mean is known to its spread / √60, a spread to 9 %
    assert abs(quiet.mean() - truth) < 4 * quiet.std() / 60**0.5
    claimed = np.mean([estimate(c, SETTINGS).se for c in many])
    assert claimed == pytest.approx(quiet.std(), rel=0.3)


def test_a_useless_baseline_leaves_the_pairs_as_they_are():
    chains = _chains(memory=1.0)
    signal = quiet_signal(chains, num_burnin_steps=10)
    np.testing.assert_array_equal(signal.values, 30 * (chains.loss - chains.baseline)[:, 10:])
    few = quiet_signal(_chains(num_draws=4), num_burnin_steps=10)  # 16 draws: too few to fit
    assert few.control == 0.0


def test_a_failed_chain_stays_failed_and_spoils_no_other():
    chains = _chains()
    broken = chains._replace(loss=np.where(np.arange(4)[:, None] == 1, np.nan, chains.loss))
    signal = quiet_signal(broken, num_burnin_steps=10)
    assert np.isnan(signal.values[1]).all()
    assert signal.control == pytest.approx(-1.0, abs=0.02)
    huge = quiet_signal(_chains(scale=1e300), num_burnin_steps=10)
    assert huge.control == 0.0
