import gc
import os
import warnings

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from devtrack.model_state.isolation import isolated


class FunctionMetric(TorchFunctionMode):
    pass


class Dispatch(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


def _hook(*args):
    return None


LEAKS = {
    "default device": (
        lambda: torch.set_default_device("meta"),
        lambda: torch.empty(1).device.type,
    ),
    "function mode": (lambda: FunctionMetric().__enter__(), torch._C._len_torch_function_stack),
    "dispatch mode": (lambda: Dispatch().__enter__(), torch._C._len_torch_dispatch_stack),
    "saved-tensor hooks": (
        lambda: torch.autograd.graph.saved_tensors_hooks(lambda x: x, lambda x: x).__enter__(),
        lambda: torch._C._autograd._top_saved_tensors_default_hooks(True),
    ),
    "global module hook": (
        lambda: torch.nn.modules.module.register_module_forward_hook(_hook),
        lambda: _hook in torch.nn.modules.module._global_forward_hooks.values(),
    ),
    "anomaly mode": (lambda: torch.set_anomaly_enabled(True), torch.is_anomaly_enabled),
    "warning filters": (
        lambda: warnings.simplefilter("always"),
        lambda: [entry[:2] for entry in warnings.filters][:3],
    ),
    "numpy errors": (lambda: np.seterr(all="raise"), np.geterr),
    "garbage collection": (gc.disable, gc.isenabled),
    "working directory": (lambda: os.chdir("/"), os.getcwd),
    "environment": (lambda: os.environ.update(DEVTRACK_TEST="1"), lambda: dict(os.environ)),
    "cudnn": (
        lambda: setattr(torch.backends.cudnn, "benchmark", True),
        lambda: torch.backends.cudnn.benchmark,
    ),
}


@pytest.mark.parametrize("leak", LEAKS)
def test_what_leaks_is_put_back(leak):
    spill, look = LEAKS[leak]
    before = look()
    with isolated():
        spill()
        assert look() != before
    assert look() == before
