import logging
import subprocess
import sys
from contextlib import nullcontext

import pytest
import torch
from torch import nn

from devtrack.errors import ConfigError
from devtrack.model_state._private_copy import private_copy
from devtrack.model_state.fidelity import Mismatch, check_copy, compare
from devtrack.model_state.isolation import take_streams

X = torch.randn(16, 3, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 1)
        )


def check(live, objective):
    copy = private_copy(live)
    return check_copy(live, copy, objective, streams=take_streams(), context=nullcontext)


def state_of(live):
    tensors = [*live.parameters(), *live.buffers()]
    return [(t._version, t.detach().clone()) for t in tensors]


def test_a_copy_gives_the_loss_of_the_step_that_follows():
    """In the live module's modes, with its random numbers: dropout and batch statistics too."""
    live, streams = Net(), torch.get_rng_state()
    found = check(live, lambda model: model.layers(X).square().mean())
    assert torch.equal(torch.get_rng_state(), streams)
    loss = live.layers(X).square().mean()
    assert found.loss == float(loss.detach())
    assert compare(found, loss, is_compiled=False, precision="32-true") is None


TOUCHES = {
    "reads a weight": lambda live: live.layers[0].weight.sum(),
    "runs it": lambda live: live.layers(X).mean(),
    "writes a buffer": lambda live: live.layers[1].running_mean.add_(1).sum(),
}


@pytest.mark.parametrize("how", TOUCHES)
def test_an_objective_that_reaches_the_live_module_is_refused_before_it_does_harm(how):
    live = Net()
    before = state_of(live)
    with pytest.raises(ConfigError, match=r"Net: .*'layers\..*live module.*Pass loss="):
        check(live, lambda model: model.layers(X).mean() + TOUCHES[how](live))
    for (version, value), (now, same) in zip(before, state_of(live), strict=True):
        assert version == now
        assert torch.equal(value, same)


def test_an_objective_that_writes_to_an_attribute_of_the_live_module_is_refused():
    live = Net()
    live.losses = []

    def objective(model):
        live.losses.append(1)
        return model.layers(X).mean()

    with pytest.raises(ConfigError, match="live module"):
        check(live, objective)
    assert live.losses == []


def test_another_loss_is_a_mismatch_with_both_numbers():
    found = check(Net(), lambda model: model.layers(X).square().mean())
    mismatch = compare(found, torch.tensor(7.0), is_compiled=False, precision="32-true")
    assert isinstance(mismatch, Mismatch)
    assert (mismatch.training, mismatch.copy) == (7.0, found.loss)
    assert "returned 7 where its copy gives" in str(mismatch)


@pytest.mark.parametrize(
    ("loss", "precision", "same"),
    [
        (1 + 1e-6, "32-true", True),
        (1 + 1e-4, "32-true", False),
        (1 + 1e-4, "bf16-mixed", True),
        (1.1, "bf16-mixed", False),
        (float("nan"), "32-true", False),
    ],
)
def test_rounding_is_allowed_for_and_nothing_else(loss, precision, same):
    live = nn.Linear(1, 1)
    found = check(live, lambda model: model.weight.sum() * 0 + 1 + model.bias.sum() * 0)
    assert found.loss == 1
    found = found._replace(is_sensitive=True)
    mismatch = compare(found, torch.tensor(loss), is_compiled=False, precision=precision)
    assert (mismatch is None) is same


def test_a_loss_that_does_not_move_with_the_weights_is_of_something_else():
    found = check(Net(), lambda model: X.mean())
    mismatch = compare(found, X.mean(), is_compiled=False, precision="32-true")
    assert mismatch is not None and "does not move" in mismatch.cause


def test_a_step_that_a_copy_cannot_run_is_a_mismatch():
    def objective(model):
        raise RuntimeError("no optimizer")

    found = check(Net(), objective)
    mismatch = compare(found, torch.tensor(1.0), is_compiled=False, precision="32-true")
    assert mismatch is not None and "no optimizer" in mismatch.cause


def test_what_a_step_sends_out_of_the_process_is_named(tmp_path):
    logger = logging.getLogger("users.own")

    def objective(model):
        (tmp_path / "log.csv").write_text("1")
        logger.warning("loss")
        subprocess.run([sys.executable, "-c", ""], check=True)
        return model.layers(X).mean()

    found = check(Net(), objective)
    assert found.sends == (
        "file 'log.csv'",
        "log records of 'users.own'",
        "work to another process",
    )
    assert check(Net(), lambda model: model.layers(X).mean()).sends == ()
