import random

import numpy as np
import pytest
import torch
from torch import nn

from devtrack.errors import ConfigError
from devtrack.sampling._engine_selection import ARRAYS_PER_CHAIN, build_groups
from devtrack.sampling._objective import Objective
from devtrack.sampling._vectorized_chains import ChainState
from devtrack.sampling.config import SamplerConfig
from devtrack.sampling.sampler import sample

SHORT = {"num_chains": 3, "num_draws": 20, "num_burnin_steps": 5, "n_beta": 50.0, "lr": 1e-3}


class Net(nn.Module):
    """Embedding, buffer and a tied output, so that the engines handle more than matrices."""

    def __init__(self, dtype=torch.float64):
        super().__init__()
        self.embed = nn.Embedding(7, 6)
        self.hidden = nn.Linear(6, 6)
        self.norm = nn.BatchNorm1d(6)
        self.out = nn.Linear(6, 7, bias=False)
        self.out.weight = self.embed.weight
        self.to(dtype)

    def forward(self, x):
        return self.out(self.norm(torch.tanh(self.hidden(self.embed(x).sum(1)))))


def _problem(num_batches=4, dtype=torch.float64):
    torch.manual_seed(0)
    model = Net(dtype).eval()
    batches = [
        {"x": torch.randint(7, (8, 2)), "y": torch.randint(7, (8,))} for _ in range(num_batches)
    ]
    return model, batches


def _loss(model, batch):
    return nn.functional.cross_entropy(model(batch["x"]), batch["y"], reduction="none")


def _sample(
    engine="auto",
    *,
    model=None,
    batches=None,
    loss=_loss,
    seed=3,
    max_memory_bytes=None,
    should_stop=None,
    **config,
):
    return sample(
        model or _problem()[0],
        loss,
        batches or _problem()[1],
        config=SamplerConfig(**{**SHORT, **config}),
        generator=torch.Generator().manual_seed(seed),
        engine=engine,
        max_memory_bytes=max_memory_bytes,
        should_stop=should_stop,
    )


@pytest.mark.parametrize("method", ["sgld", "rmsprop_sgld"])
@pytest.mark.parametrize("localization", [0.0, 10.0])
def test_all_engines_take_the_same_path(method, localization):
    # In double precision the engines differ by rounding only; 25 chaotic steps amplify it little.
    default = _sample("auto", method=method, localization=localization)
    assert default.engine == "vectorized"
    assert default.loss.std() > 0.01  # the chains do move
    for engine in ("sequential", "reference"):
        other = _sample(engine, method=method, localization=localization)
        np.testing.assert_allclose(other.loss, default.loss, rtol=1e-9)
        np.testing.assert_array_equal(other.baseline, default.baseline)
        np.testing.assert_allclose(other.virial, default.virial, rtol=1e-7, atol=1e-12)
        np.testing.assert_allclose(other.full_loss, default.full_loss, rtol=1e-9)
        for what in ChainState._fields:
            np.testing.assert_allclose(getattr(other, what), getattr(default, what), rtol=1e-7)


def test_single_precision_takes_the_same_path_within_rounding():
    model, batches = _problem(dtype=torch.float32)
    default = _sample("auto", model=model, batches=batches)
    reference = _sample("reference", model=model, batches=batches)
    np.testing.assert_allclose(reference.loss, default.loss, rtol=1e-4)


def test_bf16_takes_nearly_the_same_path_and_is_trusted_to_vmap():
    model, batches = _problem(dtype=torch.float32)
    full = _sample("sequential", model=model, batches=batches)
    for engine in ("auto", "sequential", "reference"):
        chains = _sample(engine, model=model, batches=batches, precision="bf16")
        assert chains.engine == engine.replace("auto", "vectorized")
        assert not np.array_equal(chains.loss, full.loss)
        np.testing.assert_allclose(chains.loss, full.loss, rtol=0.02)  # 8 binary digits
        np.testing.assert_allclose(chains.loss[:, 0], chains.baseline[:, 0], rtol=0.005)


def test_the_first_loss_of_every_chain_is_its_baseline():
    chains = _sample()
    np.testing.assert_allclose(chains.loss[:, 0], chains.baseline[:, 0], rtol=1e-12)


def test_baselines_are_the_losses_at_the_anchor():
    model, batches = _problem()
    chains = _sample()
    with torch.no_grad():
        at_center = [float(_loss(model, batch).mean()) for batch in batches]
    assert set(chains.baseline.ravel().round(9)) == set(np.round(at_center, 9))
    assert chains.full_baseline == pytest.approx(np.mean(at_center[: chains.full_batches]))


def test_every_chain_steps_through_whole_orders_of_the_batches():
    chains = _sample(num_burnin_steps=0, num_draws=24)
    rounds = chains.baseline.reshape(3, 6, 4)  # (chain, round, batch)
    np.testing.assert_allclose(np.sort(rounds, axis=2) - np.sort(rounds[0, 0]), 0, atol=1e-12)
    assert len(np.unique(rounds.reshape(-1, 4).round(9), axis=0)) > 1  # in different orders


def test_chains_together_use_all_batches_soon():
    # 4 batches, blocks of up to 4 chains: at each step a block uses as many batches as it has
    #     chains
    chains = _sample(num_chains=6, num_burnin_steps=3, num_draws=8)
    for block in (chains.batch[:4], chains.batch[4:]):
        for step in block.T:
            assert len(set(step)) == len(block)
    np.testing.assert_array_equal(chains.batch[:, 3:7].sum(axis=1), 6)  # draws begin a round
    at_center = {int(k): v for k, v in zip(chains.batch.ravel(), chains.baseline.ravel())}
    assert len(at_center) == 4
    np.testing.assert_array_equal(chains.baseline, np.vectorize(at_center.get)(chains.batch))


def test_shapes_with_thinning():
    chains = _sample(num_draws=6, num_burnin_steps=5, num_steps_bw_draws=3)
    assert chains.loss.shape == chains.baseline.shape == (3, 11)
    assert chains.full_loss.shape == chains.squared_distance.shape == (3, 10)


def test_thinning_keeps_draws_of_the_same_chains():
    every = _sample(num_draws=18, num_burnin_steps=5)
    third = _sample(num_draws=6, num_burnin_steps=5, num_steps_bw_draws=3)
    np.testing.assert_array_equal(third.loss[:, :5], every.loss[:, :5])
    np.testing.assert_allclose(third.loss[:, 5:], every.loss[:, 5::3])


def test_one_batch_gives_a_full_loss_at_every_draw():
    chains = _sample(batches=_problem(1)[1])
    np.testing.assert_array_equal(chains.full_loss, chains.loss[:, 5:])


def test_equal_generators_give_equal_chains_and_others_do_not():
    np.testing.assert_array_equal(_sample(seed=1).loss, _sample(seed=1).loss)
    assert not np.array_equal(_sample(seed=1).loss, _sample(seed=2).loss)


@pytest.mark.parametrize("engine", ["vectorized", "sequential", "reference"])
def test_no_trace_is_left(engine):
    model, batches = _problem()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random.seed(5)
    np.random.seed(5)
    torch.manual_seed(5)
    _sample(engine, model=model, batches=batches)
    after = (random.random(), np.random.random(), float(torch.rand(())))
    random.seed(5)
    np.random.seed(5)
    torch.manual_seed(5)
    assert after == (random.random(), np.random.random(), float(torch.rand(())))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert torch.get_default_dtype() is torch.float32


@pytest.mark.parametrize("engine", ["auto", "sequential", "reference"])
def test_a_loss_that_draws_random_numbers_is_repeatable_and_leaves_no_trace(engine):
    def dropping(model, batch):
        logits = nn.functional.dropout(model(batch["x"]), 0.1, training=True)
        return nn.functional.cross_entropy(logits, batch["y"])

    model, batches = _problem()
    before = torch.random.get_rng_state()
    first = _sample(engine, model=model, batches=batches, loss=dropping)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(3)
    again = _sample(engine, model=model, batches=batches, loss=dropping)
    np.testing.assert_array_equal(again.loss, first.loss)
    assert engine != "auto" or "draws random numbers" in first.engine_note


def test_inference_mode_outside_does_not_matter():
    model, batches = _problem()
    with torch.inference_mode():
        chains = _sample(model=model, batches=batches)
    np.testing.assert_array_equal(chains.loss, _sample().loss)


class Branching(nn.Module):
    """Control flow that depends on the data: vmap refuses it."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.ones(3))

    def forward(self, x):
        return x @ self.w if (x @ self.w).sum().item() > -1e9 else x.sum(1)


def test_a_model_that_vmap_refuses_runs_one_after_another_and_says_so():
    batches = [torch.ones(4, 3), torch.full((4, 3), 2.0)]
    loss = lambda m, x: m(x).square()  # noqa: E731
    chains = _sample(model=Branching(), batches=batches, loss=loss)
    assert chains.engine == "sequential"
    assert "one after another" in chains.engine_note and "item()" in chains.engine_note
    reference = _sample("reference", model=Branching(), batches=batches, loss=loss)
    np.testing.assert_allclose(chains.loss, reference.loss, rtol=1e-4)
    with pytest.raises(ConfigError, match=r"engine='vectorized'.*vmap.*Use engine='auto'"):
        _sample("vectorized", model=Branching(), batches=batches, loss=loss)


def test_batches_of_different_shapes_run_one_after_another():
    batches = _problem()[1]
    batches[-1] = {name: value[:5] for name, value in batches[-1].items()}
    chains = _sample(batches=batches)
    assert chains.engine == "sequential"
    assert "differ in shape" in chains.engine_note


def test_a_non_finite_chain_affects_no_other():
    # One weight; a chain above the wall has loss NaN. The others must take the same path
    # as without the wall.
    class Wall(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.zeros(1, dtype=torch.float64))

    def loss(model, _):
        return (model.w.square() + 0 * torch.log(0.02 - model.w)).sum()

    data = [torch.zeros(2)]
    config = {"num_chains": 12, "num_draws": 40, "lr": 1e-5, "localization": 0.0}
    walled = _sample(model=Wall(), batches=data, loss=loss, **config)
    free = _sample(model=Wall(), batches=data, loss=lambda m, _: m.w.square().sum(), **config)
    blown = np.isnan(walled.loss).any(axis=1)
    assert 0 < blown.sum() < 12
    np.testing.assert_allclose(walled.loss[~blown], free.loss[~blown], rtol=1e-9)


def test_large_chains_run_one_after_another_and_take_the_same_paths(monkeypatch):
    together = _sample()
    monkeypatch.setattr("devtrack.sampling._engine_selection.LARGE_CHAIN_BYTES", 1000)
    alone = _sample()
    assert (together.engine, alone.engine, alone.engine_note) == ("vectorized", "sequential", "")
    np.testing.assert_allclose(alone.loss, together.loss, rtol=1e-9)
    assert _sample("vectorized").engine == "vectorized"  # an explicit engine is obeyed


def test_an_unknown_engine_is_refused():
    with pytest.raises(ConfigError, match=r"engine='gpu': must be .* Use engine='auto'"):
        _sample("gpu")


def test_errors_of_the_loss_are_raised():
    def broken(model, batch):
        raise KeyError("labels")

    with pytest.raises(KeyError, match="labels"):
        _sample(loss=broken)


def test_lm_sgld_takes_the_same_path_in_both_engines_and_is_unknown_to_devinterp():
    default = _sample("auto", method="lm_sgld")
    np.testing.assert_allclose(_sample("sequential", method="lm_sgld").loss, default.loss)
    with pytest.raises(ConfigError, match=r"not method='lm_sgld'. Use engine='auto'"):
        _sample("reference", method="lm_sgld")


def test_the_anchor_gradient_is_that_of_the_mean_loss():
    # L_k = c_k w over three batches: the slope is the mean c, its noise the variance of c.
    class Line(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.zeros(1, dtype=torch.float64))

    batches = [torch.full((2,), c, dtype=torch.float64) for c in (1.0, 2.0, 6.0)]
    chains = _sample(model=Line(), batches=batches, loss=lambda m, c: (c * m.w).mean())
    assert chains.gradient_noise == pytest.approx(7.0)
    assert chains.full_batches == 2  # of mean slope 3/2, where that of all three is 3
    np.testing.assert_allclose(chains.first_order, 2 * chains.full_loss)
    np.testing.assert_allclose(chains.squared_distance, (chains.first_order / 3) ** 2)


def test_chains_run_in_groups_that_fit_and_take_the_same_paths():
    whole = _sample(num_chains=5)
    one_chain = _bytes_of_one_chain()
    for budget, num_groups in ((1, 5), (2 * one_chain, 3), (5 * one_chain, 1), (None, 1)):
        groups = _groups(num_chains=5, max_memory_bytes=budget)
        assert len(groups) == num_groups
    grouped = _sample(num_chains=5, max_memory_bytes=2 * one_chain)
    np.testing.assert_allclose(grouped.loss, whole.loss, rtol=1e-9)
    np.testing.assert_allclose(grouped.squared_distance, whole.squared_distance, rtol=1e-9)


def _groups(**options):
    model, batches = _problem()
    num_chains = options.pop("num_chains")
    return build_groups(
        "vectorized",
        Objective(model, _loss, batches),
        SamplerConfig(num_chains=num_chains),
        n_beta=1.0,
        seeds=range(num_chains),
        **options,
    )


def _bytes_of_one_chain():
    model, batches = _problem()
    objective = Objective(model, _loss, batches)
    return ARRAYS_PER_CHAIN * 8 * objective.num_parameters + objective.saved_bytes()


def test_the_virial_of_a_quadratic_is_twice_its_height():
    model = nn.Linear(3, 1).double().eval()
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        batches = [(x, model(x))]  # w* is a minimum, so that there is no slope
    chains = sample(
        model,
        lambda m, batch: (m(batch[0]) - batch[1]).square().mean(),
        batches,
        config=SamplerConfig(**SHORT),
        generator=torch.Generator().manual_seed(0),
    )
    np.testing.assert_allclose(chains.virial, 2 * (chains.loss - chains.baseline), atol=1e-12)
    assert chains.virial[:, 1:].min() > 0


@pytest.mark.parametrize("engine", ["vectorized", "sequential"])
@pytest.mark.parametrize("stride", [1, 2])
def test_chains_that_stop_early_are_the_beginning_of_full_chains(engine, stride):
    asked = []

    def should_stop(chains):
        asked.append(chains.loss.shape[1] - 5)
        return asked[-1] >= 110

    size = {"num_draws": 200, "num_steps_bw_draws": stride}
    whole = _sample(engine, **size)
    stopped = _sample(engine, should_stop=should_stop, **size)
    assert asked == [100, 130]  # from 100 on, a quarter more each time, rounded up to an evaluation
    assert stopped.loss.shape == stopped.baseline.shape == stopped.batch.shape == (3, 135)
    np.testing.assert_array_equal(stopped.loss, whole.loss[:, :135])
    np.testing.assert_array_equal(stopped.baseline, whole.baseline[:, :135])
    assert stopped.full_loss.shape == stopped.squared_distance.shape == (3, 13)
    assert np.isfinite(stopped.full_loss).all()


def test_chains_that_never_stop_run_to_the_end():
    whole = _sample(num_draws=70)
    never_stopped = _sample(num_draws=70, should_stop=lambda chains: False)
    np.testing.assert_array_equal(never_stopped.loss, whole.loss)
    grouped = _sample(num_draws=70, should_stop=lambda chains: False, max_memory_bytes=1)
    np.testing.assert_allclose(grouped.loss, whole.loss, rtol=1e-9)
