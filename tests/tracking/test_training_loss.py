import pytest
import torch
from torch import nn

from devtrack.errors import MetricError
from devtrack.tracking._training_loss import training_step_loss


class Module(nn.Module):
    def training_step(self, batch, batch_idx):
        return {"loss": batch.sum() + batch_idx, "other": 1}


class Short(nn.Module):
    def training_step(self, batch):
        return batch.sum()


class Manual(Module):
    automatic_optimization = False


class Nothing(nn.Module):
    def training_step(self, batch, batch_idx):
        return None


@pytest.mark.parametrize("module", [Module(), Short()])
def test_the_loss_is_what_training_step_returns(module):
    assert training_step_loss(module, torch.ones(3)) == 3


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (nn.Linear(1, 1), "Linear without training_step"),
        (Manual(), "manual optimization"),
        (Nothing(), "returned NoneType"),
    ],
)
def test_errors_say_given_allowed_next(module, message):
    with pytest.raises(MetricError, match=message + ".*Pass loss="):
        training_step_loss(module, torch.ones(3))
