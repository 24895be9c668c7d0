import csv
import functools
import threading

import pytest
import torch
from lightning.pytorch import LightningModule
from torch import nn

from devtrack.errors import MetricError
from devtrack.model_state._private_copy import eager, is_initialized, private_copy


class Criterion:
    """A helper of the user's own that holds a function over the module."""

    def __init__(self, function):
        self.function = function


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)
        history = []
        self.history = history
        self.by_lambda = lambda x: self.layer(x)
        self.by_default = lambda x, layer=self.layer: layer(x)
        self.by_partial = functools.partial(lambda layer, x: layer(x), self.layer)
        self.by_method = self.layer.forward
        self.by_helper = Criterion(lambda x: self.layer(x))
        self.by_nested = (lambda call: lambda x: call(x))(lambda x: self.layer(x))
        self.by_list = [lambda x: self.layer(x)]
        self.notes = lambda value: history.append(value)
        self.layer.register_forward_hook(lambda *_: history.append(self.layer.weight.shape))


WAYS = {
    "lambda": lambda net, x: net.by_lambda(x),
    "default argument": lambda net, x: net.by_default(x),
    "partial": lambda net, x: net.by_partial(x),
    "method": lambda net, x: net.by_method(x),
    "helper object": lambda net, x: net.by_helper.function(x),
    "nested functions": lambda net, x: net.by_nested(x),
    "list": lambda net, x: net.by_list[0](x),
}


@pytest.mark.parametrize("way", WAYS)
def test_functions_over_the_module_are_over_the_copy(way):
    live = Net()
    twin = private_copy(live)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    x = torch.ones(1, 3)
    assert torch.equal(WAYS[way](twin, x), torch.zeros(1, 2))
    assert not torch.equal(WAYS[way](live, x), torch.zeros(1, 2))


def test_what_functions_close_over_is_copied_and_shared_as_it_was():
    live = Net()
    twin = private_copy(live)
    twin.notes(1)
    twin.layer(torch.ones(1, 3))
    assert live.history == []
    assert twin.history == [1, live.layer.weight.shape]


def test_a_copy_of_a_copy_is_as_private():
    first = private_copy(Net())
    second = private_copy(first)
    second.notes(1)
    with torch.no_grad():
        second.layer.weight.zero_()
    assert first.history == []
    assert bool((first.by_lambda(torch.ones(1, 3)) != second.by_lambda(torch.ones(1, 3))).any())


def test_a_private_copy_shares_nothing():
    module = nn.Linear(2, 2)
    twin = private_copy(module)
    assert twin.weight.data_ptr() != module.weight.data_ptr()


def test_weights_that_share_memory_still_share_it():
    live = nn.ModuleDict({"a": nn.Linear(3, 3), "b": nn.Linear(3, 3), "c": nn.Linear(3, 1)})
    live["b"].weight = nn.Parameter(live["a"].weight.data)
    live["c"].weight = nn.Parameter(live["a"].weight.data[:1], requires_grad=False)
    twin = private_copy(live)
    with torch.no_grad():
        twin["a"].weight.fill_(7.0)
    assert torch.equal(twin["b"].weight, twin["a"].weight)
    assert torch.equal(twin["c"].weight, twin["a"].weight[:1])
    assert not twin["c"].weight.requires_grad
    assert bool((live["a"].weight != 7).all())


def test_results_that_a_module_keeps_are_copied_without_their_graph():
    live = nn.Linear(2, 2)
    live.last = live(torch.ones(1, 2))
    live.kept = [{"loss": live.last.sum()}]
    twin = private_copy(live)
    assert torch.equal(twin.last, live.last.detach())
    assert not twin.kept[0]["loss"].requires_grad
    live.kept[0]["loss"].backward()  # the live results keep their graph
    assert torch.equal(live.weight.grad, torch.ones(2, 2))


@pytest.mark.parametrize("how", ["module", "part", "in place", "function"])
def test_what_is_compiled_runs_eagerly_on_the_copy(how):
    live = nn.Sequential(nn.Linear(3, 3), nn.Tanh())
    if how == "part":
        live[0] = torch.compile(live[0], backend="eager")
    if how == "in place":
        live.compile(backend="eager")
    if how == "function":
        live.forward = torch.compile(live.forward, backend="eager")
    kept = vars(live.forward).copy() if how == "function" else {}
    twin = private_copy(torch.compile(live, backend="eager") if how == "module" else live)
    assert how != "function" or vars(live.forward) == kept
    assert [type(part).__name__ for part in twin.modules()] == ["Sequential", "Linear", "Tanh"]
    assert twin._compiled_call_impl is None
    with torch.no_grad():
        twin[0].weight.zero_()
        twin[0].bias.zero_()
    assert torch.equal(twin(torch.ones(2, 3)), torch.zeros(2, 3))


def test_a_compiled_module_is_known_by_its_original():
    live = nn.Linear(2, 2)
    assert eager(torch.compile(live, backend="eager")) is live
    assert eager(live) is live


def test_attributes_buffers_and_modes_are_those_of_now():
    live = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    live.register_buffer("scale", torch.zeros(()), persistent=False)
    live.weight_of_kl, live[1].training = 0.25, False
    live.scale += 3
    twin = private_copy(live)
    assert (twin.weight_of_kl, float(twin.scale)) == (0.25, 3.0)
    assert [part.training for part in twin.modules()] == [True, True, False]


@pytest.mark.filterwarnings("ignore::FutureWarning")  # torch's own: this weight_norm is deprecated
def test_weights_that_are_results_are_copied():
    live = nn.Sequential(nn.utils.weight_norm(nn.Linear(2, 2)))
    x = torch.ones(1, 2)
    before = live(x)
    twin = private_copy(live)
    with torch.no_grad():
        twin[0].weight_g.mul_(2)
    assert not torch.equal(twin(x), before)
    assert torch.equal(live(x), before)


def test_a_lazy_module_is_told():
    module = nn.Sequential(nn.LazyLinear(2))
    assert not is_initialized(module)
    module(torch.ones(1, 3))
    assert is_initialized(module)


def test_files_and_locks_of_a_module_stay_its_own(tmp_path):
    path = tmp_path / "log.csv"
    with path.open("w") as file:
        live = nn.Linear(2, 2)
        live.file, live.lock = file, threading.Lock()
        live.rows, live.table = csv.writer(file), csv.DictWriter(file, ["loss"])
        twin = private_copy(live)
        with twin.lock:
            twin.file.write("1")
            twin.rows.writerow([1])
            twin.table.writerow({"loss": 1})
        live.file.write("own")
    assert path.read_text() == "own"


def test_what_cannot_be_copied_is_explained():
    module = nn.Linear(2, 2)
    module.lines = (line for line in "ab")
    with pytest.raises(MetricError, match=r"cannot be copied.*private copy.*__getstate__"):
        private_copy(module)


def test_the_trainer_is_never_copied():
    class Trainer:
        """Stands for Lightning's, told by its name and package."""

        def __deepcopy__(self, memo):
            raise AssertionError("copied")

    Trainer.__module__ = "lightning.pytorch.trainer.trainer"
    module = LightningModule()
    module._trainer = trainer = Trainer()
    module.helper = Criterion(trainer)
    twin = private_copy(module)
    assert twin.helper.function is twin._trainer
    assert twin.global_step == 0
