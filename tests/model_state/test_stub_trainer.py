import copy

import pytest
import torch
from lightning.pytorch import LightningModule
from torch import nn

from devtrack.metrics.loss import Loss
from devtrack.model_state._private_copy import private_copy
from devtrack.tracking._evaluate import evaluate
from devtrack.tracking._training_loss import training_step_loss


class Scheduled(LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def training_step(self, batch, batch_idx):
        return batch[0].mean() * self.global_step + self.current_epoch


class AsksTrainer(Scheduled):
    def training_step(self, batch, batch_idx):
        return batch[0].mean() * self.trainer.global_step + self.trainer.current_epoch


class Inner(nn.Module):
    """A LightningModule within a plain one."""

    def __init__(self):
        super().__init__()
        self.inner = Scheduled()

    def training_step(self, batch, batch_idx):
        return self.inner.training_step(batch, batch_idx)


class Own(Scheduled):
    global_step = 100


class Named(Scheduled):
    def __init_subclass__(cls, *, name, **kwargs):
        super().__init_subclass__(**kwargs)


class Member(Named, name="member"):
    """Cannot be subclassed without a name."""


class AsksMore(Scheduled):
    def training_step(self, batch, batch_idx):
        return batch[0].mean() * self.trainer.max_epochs


def _measured(module):
    (row,) = evaluate(
        [Loss()],
        model=private_copy(module),
        step=30,
        epoch=4,
        batches=[(torch.ones(32, 2),)],
        loss=training_step_loss,
    ).records
    return row


@pytest.mark.parametrize(
    ("kind", "expected"),
    [(Scheduled, 34), (AsksTrainer, 34), (Inner, 34), (Own, 104), (Member, 34)],
)
def test_a_loss_with_a_schedule_is_measured_where_training_stands(kind, expected):
    assert _measured(kind()).value == expected


def test_what_else_is_asked_of_the_trainer_is_refused_with_a_way_out():
    error = _measured(AsksMore()).attrs["error"]
    assert "self.trainer.max_epochs" in error
    assert "has no Trainer" in error
    assert "Pass loss=" in error


def test_the_copy_is_still_of_its_class_and_can_be_copied_itself():
    module = Scheduled()
    twin = private_copy(module)
    assert isinstance(twin, Scheduled)
    assert type(twin).__qualname__ == type(module).__qualname__
    assert not hasattr(twin.trainer, "max_epochs")
    assert (twin.logger, twin.global_rank) == (None, 0)  # as without a Trainer
    assert copy.deepcopy(twin).global_step == 0
    assert type(module) is Scheduled
