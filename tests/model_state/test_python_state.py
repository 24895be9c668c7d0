import queue
import random
from collections import deque
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from devtrack.model_state._python_state import PythonState, module_state
from devtrack.model_state._reachable_globals import kept_globals, reachable_globals


class Slotted:
    __slots__ = ("value",)

    def __init__(self):
        self.value = [1]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.calls = 0
        self.outs = [{"loss": torch.zeros(())}]
        self.recent = deque([1], maxlen=2)
        self.names = {"a"}
        self.queue = torch.zeros(4)
        self.table = np.zeros(3)
        self.slotted = Slotted()
        self.rng = np.random.default_rng(0)
        self.torch_rng = torch.Generator().manual_seed(0)
        self.python_rng = random.Random(0)
        self.register_buffer("seen", torch.zeros(()))
        self.mean, self.variance = torch.zeros(1), torch.ones(1)


CHANGES = {
    "a counter": lambda net: setattr(net, "calls", 1),
    "a new attribute": lambda net: setattr(net, "last", torch.ones(2)),
    "an attribute gone": lambda net: delattr(net, "calls"),
    "a list": lambda net: net.outs.append(1),
    "an item in a list": lambda net: net.outs[0].update(loss=torch.ones(())),
    "a deque": lambda net: net.recent.append(2),
    "a set": lambda net: net.names.add("b"),
    "a tensor": lambda net: net.queue.add_(1),
    "an array": lambda net: net.table.__setitem__(0, 5.0),
    "a slot": lambda net: net.slotted.value.append(2),
    "numpy's generator": lambda net: net.rng.normal(),
    "torch's generator": lambda net: torch.rand(1, generator=net.torch_rng),
    "python's generator": lambda net: net.python_rng.random(),
    "a buffer": lambda net: net.seen.add_(1),
    "running means": lambda net: nn.functional.batch_norm(
        torch.ones(2, 1), net.mean, net.variance, training=True
    ),
    "a buffer bound anew": lambda net: setattr(net, "seen", torch.ones(())),
    "a mode": lambda net: net.layer.train(False),
}


def _content(net):
    streams = (net.rng.bit_generator.state, net.torch_rng.get_state().tolist())
    attributes = {k: v for k, v in sorted(vars(net).items()) if k not in ("rng", "torch_rng")}
    return repr((attributes, streams, net.python_rng.getstate(), net.slotted.value, net.seen))


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_seen_and_put_back(change):
    net = Net()
    before, state = _content(net), module_state(net)
    assert state.changes() == []
    CHANGES[change](net)
    assert state.changes() != []
    assert state.restore() != []
    assert state.changes() == []
    assert _content(net) == before


def test_what_samplers_and_metrics_write_to_is_left_alone():
    net = Net()
    state = module_state(net)
    with torch.no_grad():
        net.layer.weight.add_(1)
    net.layer.register_forward_hook(lambda *_: None)
    assert state.changes() == []
    watched = module_state(net, with_hooks=True)
    net.layer.register_forward_hook(lambda *_: None)
    assert watched.changes() != []


def test_equal_values_are_no_change():
    held = {"x": 12345.678, "y": [1, 2]}
    state = PythonState({"held": held})
    held["x"] = float("12345.678")
    assert state.changes() == []


COUNT = 0
ENTRIES: list[int] = []
RNG = np.random.default_rng(0)


class Client:
    entries: ClassVar[list[int]] = []
    steps = 0


def helper():
    Client.steps += 1
    Client.entries.append(Client.steps)


class Reports(nn.Module):
    def training_step(self, batch):
        global COUNT
        COUNT += 1
        ENTRIES.append(float(RNG.normal()))
        helper()


def test_module_level_objects_that_a_step_writes_to_are_put_back():
    first = RNG.bit_generator.state
    with kept_globals(Reports):
        for _ in range(3):
            Reports().training_step(None)
        assert (COUNT, len(ENTRIES), Client.steps, Client.entries) == (3, 3, 3, [1, 2, 3])
    assert (COUNT, ENTRIES, Client.steps, Client.entries) == (0, [], 0, [])
    assert RNG.bit_generator.state == first


def test_installed_code_is_not_looked_into():
    assert reachable_globals(nn.Linear) == {}


def test_what_works_for_the_training_is_left_alone():
    """A loader's queues and threads move while a metric is computed."""
    loader = DataLoader(TensorDataset(torch.zeros(4)), batch_size=2)
    box = {"loader": loader, "queue": queue.Queue(), "own": []}
    state = PythonState({"box": box})
    batches = iter(loader)
    next(batches)
    loader.kept = batches
    box["queue"].put(1)
    assert state.changes() == []
    box["own"].append(1)
    assert state.restore() == ["box['own']"]
    assert box["queue"].qsize() == 1
