"""Planted chains with minibatch noise, and how much of it control variates remove."""

import numpy as np
import pytest

from devtrack.sampling._control_variates import apply_control_variates, paired_draws
from devtrack.sampling.chain_record import Chains
from devtrack.sampling.config import SamplerConfig
from devtrack.sampling.diagnostics._failures import failed_chains
from devtrack.sampling.estimator import estimate

CONFIG = SamplerConfig(num_burnin_steps=10, n_beta=30.0)
NOISE = 0.05
"""Standard deviation of the losses for a known batch; over batches it is 0.5."""


def _chains(*, seed=0, kind="independent", num_batches=40, num_draws=100, scale=1.0):
    """L_k(w_t) = 3 + effect_k + noise, at mean effect 0; only the drawn batches are random.

    The kind of the batch effect is one of:

    - ``independent``: it is independent of L_k(w*).
    - ``none``: there is none, so pairs contain L_k(w*) alone.
    - ``equal``: it is that of L_k(w*), so pairs have no batch noise.
    """
    rng = np.random.default_rng(seed)
    planted = np.random.default_rng(99)
    at_center, other = planted.normal(2.0, 0.5, (2, num_batches))
    effect = {"independent": other, "none": 0 * other, "equal": at_center}[kind]
    shape = (4, CONFIG.num_burnin_steps + num_draws)
    size = shape[0] * shape[1]
    rounds = np.tile(np.arange(num_batches), (-(-size // num_batches), 1))
    order = rng.permuted(rounds, axis=1).ravel()[:size].reshape(shape)
    noise = NOISE * rng.normal(size=order.shape)
    loss = scale * (3 + (effect - effect.mean())[order] + noise)
    evaluations = np.full((4, 8), 3.0)
    return Chains(
        loss=loss,
        baseline=at_center[order],
        virial=0 * loss,
        batch=order,
        full_loss=evaluations,
        full_baseline=float(at_center.mean()),
        data_baseline=float(at_center.mean()),
        squared_distance=evaluations,
        first_order=0 * evaluations,
        squared_gradient=evaluations,
        gradient_diff_1=0 * evaluations,
        gradient_diff_2=0 * evaluations,
        gradient_noise=0.0,
        prior_loss_increase=1.0,
        n_beta=30.0,
        samples_per_batch=4,
        num_batches=num_batches,
        full_batches=num_batches,
        num_parameters=200,
        engine="planted",
        engine_note="",
    )


def _reduced(chains):
    num_burnin_steps = CONFIG.num_burnin_steps
    paired = paired_draws(chains, num_burnin_steps=num_burnin_steps)
    is_valid = failed_chains(paired, chains.full_loss, chains.num_parameters).is_valid
    return apply_control_variates(chains, paired, is_valid, num_burnin_steps=num_burnin_steps)


def _pairs(chains):
    return 30 * (chains.loss - chains.baseline)[:, CONFIG.num_burnin_steps :]


@pytest.mark.parametrize(
    ("problem", "control_variate", "noise"),
    [
        ({"kind": "independent"}, "batch", NOISE),
        ({"kind": "independent", "num_batches": 80}, "batch", NOISE),  # 5 draws on each
        ({"kind": "none"}, "batch", NOISE),
        ({"kind": "none", "num_batches": 300}, "baseline", NOISE),
        ({"kind": "equal"}, "none", NOISE),
        ({"kind": "equal", "num_batches": 300}, "none", NOISE),
    ],
    ids=str,
)
def test_control_variates_remove_batch_noise(problem, control_variate, noise):
    many = [_chains(seed=seed, **problem) for seed in range(60)]
    assert {_reduced(c).control_variate for c in many} == {control_variate}
    estimates = np.array([_reduced(c).values.mean() for c in many])
    truth = 30 * (3 - many[0].data_baseline)
    # 60 repeats of 400 draws: a spread is known to 9 %, a mean to its spread / √60
    assert estimates.std() == pytest.approx(30 * noise / 400**0.5, rel=0.3)
    assert abs(estimates.mean() - truth) < 4 * estimates.std() / 60**0.5
    spread = np.mean([_reduced(c).values.std() for c in many])
    assert spread == pytest.approx(30 * noise, rel=0.03)  # 60 × 400 draws: 0.5 %
    claimed = np.mean([estimate(c, CONFIG).se for c in many])
    assert claimed == pytest.approx(estimates.std(), rel=0.3)


def test_without_a_batch_effect_the_pairs_are_unchanged():
    chains = _chains(kind="equal")
    np.testing.assert_array_equal(_reduced(chains).values, _pairs(chains))
    assert (
        _reduced(_chains(num_draws=4)).control_variate == "none"
    )  # 16 draws: too few to fit anything


def test_failed_chains_do_not_affect_others():
    chains = _chains()
    second = np.arange(4)[:, None] == 1
    for broken in (np.nan, 1e9, 1e300):
        draws = _reduced(chains._replace(loss=np.where(second, broken, chains.loss)))
        rest = draws.values[[0, 2, 3]]
        assert draws.control_variate == "batch"
        assert rest.std() == pytest.approx(30 * NOISE, rel=0.15)
        assert not draws.values[1].mean() < 1e9
