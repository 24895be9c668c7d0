"""Two processes, one of which measures: nothing waits for ever, and training is as without."""

import subprocess
import sys

from devtrack import open_store
from tests.training import QUIET

SCRIPT = (
    f"QUIET = {QUIET!r}"
    + """
import sys
import time
from datetime import timedelta

import torch
import torch.distributed as dist
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy
from torch.utils.data import DataLoader, TensorDataset

from devtrack import FunctionMetric, Loss, Tracker, schedules

X = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))


class Net(LightningModule):
    def __init__(self, gathers):
        super().__init__()
        self.layer, self.gathers = torch.nn.Linear(4, 1), gathers

    def training_step(self, batch, batch_idx):
        loss = (self.layer(batch[0]) - 1).square().mean()
        mean = loss.detach().clone()
        if dist.is_initialized():
            dist.all_reduce(mean)
            mean /= dist.get_world_size()
        return loss + mean if self.gathers else loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


def slow(model, batch):
    time.sleep(seconds)
    return 1.0


def train(*callbacks):
    torch.manual_seed(0)
    module = Net(step == "gathers")
    strategy = DDPStrategy(start_method="fork", timeout=timedelta(seconds=3))
    trainer = Trainer(
        max_steps=4, devices=2, strategy=strategy, callbacks=list(callbacks), **QUIET
    )
    trainer.fit(module, DataLoader(TensorDataset(X), batch_size=16))
    return torch.cat([p.detach().flatten() for p in module.parameters()]).tolist()


for step, seconds in (("alone", 4), ("gathers", 0)):
    tracker = Tracker(
        sys.argv[1] + "/" + step,
        schedules.at([4]),
        metrics=[Loss(), FunctionMetric("slow", slow, data=[(X,)])],
        num_samples=32,
    )
    print(train(), train(tracker), sep="\\n")
"""
)


def test_an_observation_may_outlast_the_time_out_and_a_step_may_gather(tmp_path):
    script = [sys.executable, "-W", "ignore", "-c", SCRIPT, str(tmp_path)]
    answer = subprocess.run(script, capture_output=True, text=True, timeout=120)
    assert answer.returncode == 0, answer.stderr[-2000:]
    alone, alone_tracked, gathers, gathers_tracked = answer.stdout.splitlines()[-4:]
    assert (alone, gathers) == (alone_tracked, gathers_tracked)
    for step, status in (("alone", "ok"), ("gathers", "suspect")):
        rows = open_store(tmp_path / step).sql(
            "SELECT step, status FROM metrics WHERE metric = 'loss' ORDER BY step"
        )
        assert rows.fetchall() == [(0, status), (4, status)]
