import subprocess
import sys
import warnings

import pytest
import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from devtrack import LLC, FunctionMetric, Loss, WeightNorm, open_store
from devtrack.tracking.lightning_tracker import Tracker
from tests.training import QUIET

X = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
Y = X[:, :1].sign()


class Net(LightningModule):
    """Makes a tensor on its way forward, which has the precision of the training."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 8), nn.Linear(8, 1)

    def training_step(self, batch, batch_idx):
        x, y = batch
        hidden = self.first(x).tanh() + torch.zeros(8)
        return nn.functional.mse_loss(self.last(hidden), y)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1e-2)


class InPlace:
    """Hooks as users write them: both scale, the second in place."""

    def on_before_batch_transfer(self, batch, dataloader_idx):
        return [batch[0] * 10, batch[1]]

    def on_after_batch_transfer(self, batch, dataloader_idx):
        batch[0].mul_(10)
        batch[1].mul_(10)
        return batch


class Scaled(InPlace, Net):
    pass


class ScaledData(InPlace, LightningDataModule):
    def train_dataloader(self):
        return loader()


def loader(**options):
    return DataLoader(TensorDataset(X, Y), **{"batch_size": 16} | options)


def size(name, data=None):
    return FunctionMetric(name, lambda model, batch: batch[0].abs().mean(dim=-1), data=data)


def fit(tracker, *, module=None, data=None, **options):
    trainer = Trainer(callbacks=[tracker], **QUIET | {"max_steps": 1} | options)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        trainer.fit(module or Net(), loader() if data is None else data)
    rows = open_store(tracker.store).sql(
        "SELECT metric, value, status, attrs->>'error' FROM metrics WHERE step = 0"
    )
    return {metric: rest for metric, *rest in rows.fetchall()}


@pytest.mark.parametrize("precision", ["bf16-true", "16-true", "64-true"])
def test_a_training_in_true_precision_is_measured_in_it(tmp_path, precision):
    torch.manual_seed(0)
    module = Net()
    start = module.training_step((X, Y), 0).item()
    llc = LLC(lr=1e-3, num_chains=2, num_draws=10, num_burnin_steps=5)
    metrics = [Loss(), Loss(name="own", data=loader()), WeightNorm(), llc]
    rows = fit(Tracker(tmp_path, metrics=metrics), module=module, precision=precision)
    assert {
        metric: error for metric, (_, status, error) in rows.items() if status == "failed"
    } == {}
    assert rows["loss"][0] == pytest.approx(start, rel=1e-2)  # bfloat16 rounds by 4e-3
    assert rows["own"] == rows["loss"]
    assert rows["llc"][0] != 0


@pytest.mark.parametrize(("module", "data"), [(Scaled, loader), (Net, ScaledData)])
def test_own_data_go_through_the_hooks_of_training_data(tmp_path, module, data):
    tracker = Tracker(tmp_path, metrics=[size("run"), size("own", loader())])
    rows = fit(tracker, module=module(), data=data())
    assert rows["run"][0] == pytest.approx(100 * float(X.abs().mean()))
    assert rows["own"] == rows["run"]


def test_hooks_that_write_in_place_leave_the_users_data_alone(tmp_path):
    before = X.clone(), Y.clone()
    metrics = [size("run"), size("own", [(X, Y)])]
    rows = fit(Tracker(tmp_path, metrics=metrics, data=[(X, Y)]), module=Scaled())
    assert rows["own"] == rows["run"]
    assert torch.equal(X, before[0]) and torch.equal(Y, before[1])


def test_own_data_are_as_many_as_the_runs_and_chosen_by_its_seed(tmp_path):
    def values(folder, **options):
        which = FunctionMetric("own", lambda model, batch: batch[0].sum(dim=1), data=(X, Y))
        count = FunctionMetric("count", lambda model, batch: float(len(batch[0])), data=(X, Y))
        rows = fit(Tracker(tmp_path / folder, metrics=[which, count], **options))
        return rows["own"][0], rows["count"][0]

    first = values("a", num_samples=10, seed=1)
    assert first[1] == 10
    assert first == values("b", num_samples=10, seed=1)
    assert first != values("c", num_samples=10, seed=2)


@pytest.mark.parametrize(
    ("data", "limit", "seen"),
    [
        (loader(shuffle=True), {"overfit_batches": 1}, 16),
        (loader(), {"overfit_batches": 0.5}, 32),
        (loader(), {"limit_train_batches": 3}, 48),
        (loader(batch_size=24, drop_last=True), {}, 48),
        (loader(), {"max_steps": 2}, 64),  # the rest comes from a copy of the loader
        (loader(), {"max_steps": 2, "limit_train_batches": 3}, 32),
        (DataLoader(TensorDataset(X, Y), batch_size=None), {"limit_train_batches": 5}, 5),
    ],
)
def test_a_training_cut_short_is_measured_on_what_it_sees(tmp_path, data, limit, seen):
    limit = {"max_epochs": 1, "max_steps": -1} | limit
    rows = fit(Tracker(tmp_path, metrics=[size("run")]), data=data, **limit)
    assert rows["run"][0] == pytest.approx(float(X[:seen].abs().mean()))


TWO_PROCESSES = (
    f"QUIET = {QUIET!r}"
    + """
import sys
import torch
from lightning.pytorch import LightningModule, Trainer
from torch.utils.data import DataLoader, SubsetRandomSampler, TensorDataset
from devtrack import FunctionMetric, Tracker, WeightNorm, schedules

X = torch.arange(100.0).reshape(100, 1) / 100

class Net(LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch, batch_idx):
        return ((self.layer(batch[0]) - 1) ** 2).mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

def train(*callbacks):
    torch.manual_seed(0)
    module, sampler = Net(), SubsetRandomSampler(range(64))
    loader = DataLoader(TensorDataset(X), batch_size=8, sampler=sampler)
    trainer = Trainer(
        max_steps=6, devices=2, strategy="ddp_fork", callbacks=list(callbacks), **QUIET
    )
    trainer.fit(module, loader)
    return torch.cat([p.detach().flatten() for p in module.parameters()]).tolist()

data = FunctionMetric("data", lambda model, batch: batch[0])
tracker = Tracker(sys.argv[1], schedules.every(3), metrics=[data, WeightNorm()])
print(train(), train(tracker), sep="\\n")
"""
)


def test_of_two_processes_one_observes_and_both_train_as_without(tmp_path):
    script = [sys.executable, "-c", TWO_PROCESSES, str(tmp_path / "runs")]
    answer = subprocess.run(script, capture_output=True, text=True, timeout=120)
    assert answer.returncode == 0, answer.stderr
    without, with_tracker = answer.stdout.splitlines()[-2:]
    assert without == with_tracker
    rows = open_store(tmp_path / "runs").sql(
        "SELECT step, metric, value, samples_seen FROM metrics "
        "WHERE metric IN ('data', 'weight_norm') ORDER BY ALL"
    )
    steps, names, values, seen = zip(*rows.fetchall(), strict=True)
    assert steps == (0, 0, 3, 3, 6, 6)
    assert names == ("data", "weight_norm") * 3
    # of the share that reached the process that observes: 4 batches of 8, at every step the same
    assert len(set(values[::2])) == 1
    assert 0 < values[0] < 0.64
    assert seen == (0, 0, 48, 48, 96, 96)
