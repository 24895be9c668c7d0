import pytest
import torch
from torch import nn
from torch.optim import optimizer as torch_optimizer

from devtrack.metrics.llc import LLC
from experiments.bench.llc_calibrate import answer, long_run, train
from experiments.bench.tasks import Task

STEPS = 40


def _tiny(num_steps):
    """Twenty weights that slide into a bowl; λ = 10 less what the pull takes."""

    def build(device):
        model = nn.Linear(20, 1, bias=False, device=device).double()
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(256, 20, dtype=torch.float64, generator=generator)
        batches = [(x, x.sum(1, keepdim=True))]
        with torch.no_grad():
            model.weight.fill_(0.0 if num_steps else 1.0)

        def loss(model, batch):
            return 0.5 * (model(batch[0]) - batch[1]).square().sum(-1)

        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        for _ in range(num_steps):
            optimizer.zero_grad()
            loss(model, batches[0]).mean().backward()
            optimizer.step()
        return model, loss, batches

    return Task("tiny", build, LLC(), LLC(), LLC())


@pytest.fixture(scope="module")
def trained():
    return train(_tiny(STEPS), "cpu")


def test_weights_are_those_of_the_steps_on_the_way(trained):
    # of 1, 2, 3, 5, 7, 9, 13, 17, 25, 34 (ratios of √2) and the last: a quarter and half the way
    assert list(trained.points) == [3, 9, STEPS]
    assert not trained.untrained["weight"].any()
    away = [float((w["weight"] - 1).abs().max()) for w in trained.points.values()]
    assert away == sorted(away, reverse=True) and away[-1] < 1e-6
    model = trained.built[0]
    assert torch.equal(model.weight, trained.points[STEPS]["weight"])


def test_training_leaves_no_hook_behind(trained):
    assert not torch_optimizer._global_optimizer_post_hooks
    assert not torch_optimizer._global_optimizer_pre_hooks


def test_a_task_without_training_has_one_point():
    trained = train(_tiny(0), "cpu")
    assert list(trained.points) == [0]
    assert trained.untrained is None


def test_the_choice_agrees_with_a_long_run_of_smaller_steps(trained):
    narrow = {"n_betas": (1000.0,), "localizations": (10.0,)}
    found = answer(trained, seed=0, **narrow)
    slow = long_run(trained, found.config, times=1, seed=1)
    trial = next(t for t in reversed(found.trials) if t.config == found.config)
    assert found.training_gain == pytest.approx(
        10.0, rel=0.2
    )  # ½ ‖1‖², inputs of covariance about I
    assert slow.value == pytest.approx(10.0, rel=0.05)
    assert trial.value == pytest.approx(slow.value, abs=3 * (trial.se**2 + slow.se**2) ** 0.5)
