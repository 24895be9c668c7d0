"""Situations that users report, by kind: training is what it was, and a row says what it names.

Each is trained twice, without and with the tracker. Weights, buffers and the Python state of the
module are equal to the bit, and the last row of ``loss`` is what the module's own training step
gives for the same batches.
"""

import contextlib
import warnings
from collections import UserDict
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pytest
import torch
import torchmetrics
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging, StochasticWeightAveraging
from torch import nn
from torch.nn.utils.rnn import pack_sequence
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from devtrack import LLC, Loss, Tracker, WeightNorm, open_store, schedules
from devtrack.errors import ConfigError
from devtrack.tracking._fault_isolation import TrackerWarning
from tests.training import QUIET

X = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
Y = X[:, :1] * X[:, 1:2]
SHORT_LLC = LLC(lr=1e-3, num_chains=2, num_draws=8, num_burnin_steps=2)


class Net(LightningModule):
    """BatchNorm and dropout, so that whoever runs the live module leaves a trace."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.Tanh(), nn.Linear(8, 1)
        )

    def training_step(self, batch, batch_idx):
        return nn.functional.mse_loss(self.net(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1e-2)


class Losses(Callback):
    """What training itself says."""

    def __init__(self):
        self.seen = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if outputs is not None and "loss" in outputs:
            self.seen.append(float(outputs["loss"]))


def loader(**options):
    return DataLoader(TensorDataset(X, Y), **{"batch_size": 16, "shuffle": True} | options)


def train(make, data, tracker=None, *, steps=8, epochs=-1, callbacks=(), last=(), **options):
    torch.manual_seed(1)
    np.random.seed(1)
    module = make()
    trainer = Trainer(
        max_steps=steps,
        max_epochs=epochs,
        callbacks=[*callbacks, *([tracker] if tracker else []), *last],
        **QUIET | options,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", message="This DataLoader will create")
        trainer.fit(module, data() if callable(data) else data)
    return getattr(module, "_orig_mod", module)


def state_of(module):
    tensors = {name: value.clone() for name, value in module.state_dict().items()}
    plain = {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, int | float | str | list) and not name.startswith("_")
    }
    return tensors, repr(plain)


def require_same(make, data, tracker, *, untracked=None, **options):
    """Train without and with the tracker; return the module of the second.

    ``untracked``: other data for the first, which bring the same batches sooner.
    """
    tensors, plain = state_of(train(make, untracked or data, **options))
    module = train(make, data, tracker, **options)
    tracked, tracked_plain = state_of(module)
    assert tensors.keys() == tracked.keys()
    for name, value in tensors.items():
        assert torch.equal(value, tracked[name]), name
    assert plain == tracked_plain
    return module


@lru_cache(maxsize=4)
def store_at(store):
    """Open a store once for all that a test asks of it; what is written later is seen as well."""
    return open_store(store)


def rows_of(store, metric="loss"):
    query = (
        "SELECT step, value, status, attrs->>'error' FROM metrics WHERE metric = ? ORDER BY step"
    )
    return store_at(store).sql(query, [metric]).fetchall()


def events_of(store):
    return [kind for (kind,) in store_at(store).sql("SELECT kind FROM events").fetchall()]


# 1. The private copy is private, and taken along


class ClosureNet(Net):
    def __init__(self):
        super().__init__()
        self.objective = lambda x, y: nn.functional.mse_loss(self.net(x), y)
        self.net[0].register_forward_hook(lambda *_: print(end=str(self.net[4].weight)[:0]))

    def training_step(self, batch, batch_idx):
        return self.objective(batch[0], batch[1])


class PartCompiled(Net):
    def __init__(self):
        super().__init__()
        self.net[0] = torch.compile(self.net[0], backend="eager")


class Keeps(Net):
    """The list of outputs of Lightning's own guide, a counter, and a queue that moves."""

    def __init__(self):
        super().__init__()
        self.outs, self.calls = [], 0
        self.register_buffer("queue", torch.zeros(8), persistent=False)

    def training_step(self, batch, batch_idx):
        self.calls += 1
        self.queue = self.queue.roll(1) + 1
        loss = super().training_step(batch, batch_idx) + min(1.0, self.calls / 10)
        self.outs.append(float(loss.detach()))
        return loss


class OwnGenerator(Net):
    def __init__(self):
        super().__init__()
        self.rng = np.random.default_rng(0)

    def training_step(self, batch, batch_idx):
        noisy = batch[0] + 0.1 * torch.from_numpy(self.rng.normal(size=(1, 4))).float()
        return nn.functional.mse_loss(self.net(noisy), batch[1])


REPORTED = []


class Reports(Net):
    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        REPORTED.append(float(loss.detach()))
        return loss


class WritesBatch(Net):
    def training_step(self, batch, batch_idx):
        batch[0].mul_(0.5)
        return super().training_step(batch, batch_idx)


@pytest.mark.parametrize(
    "make",
    [Net, ClosureNet, PartCompiled, Keeps, OwnGenerator, WritesBatch],
    ids=lambda make: make.__name__,
)
def test_the_live_module_is_never_run(make, tmp_path):
    tracker = Tracker(tmp_path, schedules.every(2), metrics=[Loss(), WeightNorm(), SHORT_LLC])
    require_same(make, loader, tracker)
    assert [row[0] for row in rows_of(tmp_path)] == [0, 2, 4, 6, 8]
    assert {row[2] for row in rows_of(tmp_path)} == {"ok"}
    assert "objective_mismatch" not in events_of(tmp_path)


@pytest.mark.parametrize("in_place", [False, True])
def test_a_compiled_training_is_the_same_and_measured_as_without(in_place, tmp_path):
    def make():
        module = Net()
        if in_place:
            module.compile(backend="eager")
            return module
        return torch.compile(module, backend="eager")

    tracker = Tracker(tmp_path / "a", schedules.every(4), metrics=[Loss(), SHORT_LLC])
    require_same(make, loader, tracker)
    train(Net, loader, Tracker(tmp_path / "b", schedules.every(4), metrics=[Loss(), SHORT_LLC]))
    for compiled, plain in zip(rows_of(tmp_path / "a"), rows_of(tmp_path / "b"), strict=True):
        assert compiled[1] == pytest.approx(plain[1], rel=1e-5)


def test_what_a_step_keeps_is_put_back_before_every_call(tmp_path):
    """A term that anneals with a counter of calls is measured where training has it."""
    tracker = Tracker(tmp_path, schedules.every(4), metrics=[Loss()], num_samples=64)
    module = require_same(Keeps, loader, tracker, steps=8)
    assert (module.calls, len(module.outs)) == (8, 8)
    module.eval()
    for step, value, *_ in rows_of(tmp_path):
        annealed = min(1.0, (step + 1) / 10)
        assert annealed <= value < annealed + 3.0
    module.calls = 8
    with torch.no_grad():
        last = np.mean([_at(module, 8, x, y) for x, y in loader(shuffle=False)])
    assert rows_of(tmp_path)[-1][1] == pytest.approx(last, abs=0.02)


def _at(module, calls, x, y):
    module.calls = calls
    return float(module.training_step((x, y), 0))


def test_a_module_level_client_hears_of_training_only(tmp_path):
    REPORTED.clear()
    train(Reports, loader, Tracker(tmp_path, schedules.every(2), metrics=[Loss(), SHORT_LLC]))
    assert len(REPORTED) == 8


TEACHER = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))


class Distils(Net):
    def training_step(self, batch, batch_idx):
        with torch.no_grad():
            target = TEACHER(batch[0])[:, :1]
        return nn.functional.mse_loss(self.net(batch[0]), target)


def test_a_module_of_the_script_is_put_back_too(tmp_path):
    start = {name: value.clone() for name, value in TEACHER.state_dict().items()}
    ends = []
    for tracker in (None, Tracker(tmp_path, schedules.every(2), metrics=[Loss(), SHORT_LLC])):
        TEACHER.load_state_dict(start)
        train(Distils, loader, tracker)
        ends.append({name: value.clone() for name, value in TEACHER.state_dict().items()})
    assert int(ends[0]["1.num_batches_tracked"]) == 8
    assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())


class Merges(nn.Linear):
    """A low-rank update that is merged into the weight by ``eval()``, as LoRA layers do."""

    def __init__(self, *shape):
        super().__init__(*shape)
        self.a, self.b = nn.Parameter(torch.randn(shape[0], 2)), nn.Parameter(torch.ones(2, 8))
        self.merged = False

    def train(self, mode=True):
        super().train(mode)
        if mode == self.merged:
            self.weight.data += (-1 if mode else 1) * (self.a @ self.b).T
            self.merged = not mode
        return self

    def forward(self, x):
        low = 0 if self.merged else x @ self.a @ self.b
        return super().forward(x) + low


class LoRA(Net):
    def __init__(self):
        super().__init__()
        self.net[0] = Merges(4, 8)


class HalfStateDict(Net):
    def state_dict(self, *args, **kwargs):
        return {k: v.half() for k, v in super().state_dict(*args, **kwargs).items()}


@pytest.mark.parametrize("make", [LoRA, HalfStateDict], ids=lambda make: make.__name__)
def test_the_weights_are_those_of_now(make, tmp_path):
    tracker = Tracker(tmp_path, schedules.every(4), metrics=[Loss()], num_samples=64)
    module = require_same(make, loader, tracker)
    module.eval()
    with torch.no_grad():
        true = float(np.mean([float(module.training_step(b, 0)) for b in loader(shuffle=False)]))
    assert rows_of(tmp_path)[-1][1] == pytest.approx(true, rel=1e-2)  # half precision: 1e-3
    first, last = rows_of(tmp_path)[0][1], rows_of(tmp_path)[-1][1]
    assert first != last


class Grows(Net):
    def on_train_batch_start(self, batch, batch_idx):
        if self.global_step == 4 and len(self.net) == 5:
            block = nn.Linear(1, 1)
            self.net.append(block)
            self.optimizers().optimizer.add_param_group({"params": list(block.parameters())})


def test_a_model_that_grows_is_measured_as_it_is(tmp_path):
    tracker = Tracker(tmp_path, schedules.every(2), metrics=[Loss(), WeightNorm(), SHORT_LLC])
    require_same(Grows, loader, tracker)
    assert {row[2] for row in rows_of(tmp_path)} == {"ok"}
    assert "parameters_changed" in events_of(tmp_path)


class Lazy(Net):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.LazyLinear(8), nn.Tanh(), nn.LazyLinear(1))


def test_lazy_layers_wait_for_their_weights(tmp_path):
    tracker = Tracker(tmp_path, schedules.every(2), metrics=[Loss(), WeightNorm()])
    require_same(Lazy, loader, tracker)
    assert [row[0] for row in rows_of(tmp_path)] == [1, 2, 4, 6, 8]  # from the first batch on


LIVE = {}


class ByGlobal(Net):
    """Reaches the live module by a name that no copy can follow."""

    def __init__(self):
        super().__init__()
        LIVE["net"] = self.net

    def training_step(self, batch, batch_idx):
        return nn.functional.mse_loss(LIVE["net"](batch[0]), batch[1])


def test_what_cannot_be_made_private_is_refused_before_training(tmp_path):
    steps = Losses()
    with pytest.raises(ConfigError, match=r"ByGlobal: .*live module.*Pass loss=lambda"):
        train(ByGlobal, loader, Tracker(tmp_path, metrics=[Loss()]), callbacks=[steps])
    assert steps.seen == []

    own = lambda model, batch: nn.functional.mse_loss(model.net(batch[0]), batch[1])  # noqa: E731
    tracker = Tracker(tmp_path, schedules.every(4), metrics=[Loss()], loss=own)
    require_same(ByGlobal, loader, tracker)
    assert {row[2] for row in rows_of(tmp_path)} == {"ok"}


# 2. The objective is called on whole batches


class Contrast(Net):
    def training_step(self, batch, batch_idx):
        out = self.net(batch[0])
        return nn.functional.cross_entropy(out @ out.T, torch.arange(len(out)))


class Sums(Net):
    def training_step(self, batch, batch_idx):
        return nn.functional.mse_loss(self.net(batch[0]), batch[1], reduction="sum") * 1e-2


class TimeFirst(Net):
    def training_step(self, batch, batch_idx):
        return nn.functional.mse_loss(self.net(batch[0].sum(0)), batch[1])


class Masked(Net):
    """Some samples have no label at all: their own mean is NaN, that of the batch is not."""

    def training_step(self, batch, batch_idx):
        labels = torch.where(batch[1] > 1, -100, (batch[0][:, :1] > 0).long())[:, 0]
        logits = torch.cat([self.net(batch[0]), -self.net(batch[0])], dim=1)
        return nn.functional.cross_entropy(logits, labels)


class Alternates(Net):
    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) + 10 * (batch_idx % 2)


def time_first():
    together = lambda items: (  # noqa: E731
        torch.stack([x.expand(5, 4) for x, _ in items], dim=1),
        torch.stack([y for _, y in items]),
    )
    return loader(collate_fn=together, shuffle=False)


@pytest.mark.parametrize(
    ("make", "data"),
    [
        (Contrast, loader),
        (Sums, loader),
        (TimeFirst, time_first),
        (Masked, loader),
        (Alternates, lambda: loader(shuffle=False)),
    ],
    ids=["pairs", "sums", "time first", "masked", "by index"],
)
def test_the_loss_is_that_of_whole_batches_as_training_calls_it(make, data, tmp_path):
    metrics = [Loss(), SHORT_LLC]
    tracker = Tracker(tmp_path, schedules.at([4]), metrics=metrics, num_samples=64)
    kept = []

    class Batches(Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            kept.append((batch, batch_idx))

    module = train(make, data, tracker, steps=4, callbacks=[Batches()])
    module.eval()
    with torch.no_grad():
        true = np.mean([float(module.training_step(*args)) for args in kept])
    (*_, last) = rows_of(tmp_path)
    assert last[:3] == (4, pytest.approx(true, rel=1e-5), "ok")
    query = (
        "SELECT (attrs->>'data_loss')::DOUBLE, samples_seen FROM metrics "
        "WHERE step = 4 AND metric = 'llc'"
    )
    ((data_loss, seen),) = store_at(tmp_path).sql(query).fetchall()
    assert data_loss == pytest.approx(true, rel=1e-4)  # two metrics, one objective
    assert seen == 64


def test_another_batch_size_is_refused_where_it_means_another_thing(tmp_path):
    llc = LLC(lr=1e-3, num_chains=2, num_draws=8, num_burnin_steps=2, batch_size=8)
    with pytest.warns(TrackerWarning, match="batch_size=8: the loss of a batch is"):
        train(Sums, loader, Tracker(tmp_path / "a", schedules.at([4]), metrics=[llc]), steps=4)
    train(Net, loader, Tracker(tmp_path / "b", schedules.at([4]), metrics=[llc]), steps=4)
    assert {row[2] for row in rows_of(tmp_path / "b", "llc")} <= {"ok", "suspect"}


# 3. The data are those that training met


class OwnNoise(Dataset):
    def __init__(self):
        self.rng = np.random.default_rng(1)

    def __len__(self):
        return len(X)

    def __getitem__(self, index):
        return X[index] + torch.from_numpy(self.rng.normal(size=4)).float(), Y[index]


class SeededCollator:
    def __init__(self):
        self.rng = torch.Generator().manual_seed(0)

    def __call__(self, items):
        x, y = (torch.stack(parts) for parts in zip(*items, strict=True))
        return x + torch.rand(x.shape, generator=self.rng), y


class OpensItsFile(Dataset):
    """Opened at first use, in every worker, as is advised for h5py."""

    def __init__(self, path):
        self.path, self.file = path, None

    def __del__(self):
        if self.file is not None:
            self.file.close()

    def __len__(self):
        return len(X)

    def __getitem__(self, index):
        if self.file is None:
            self.file = self.path.open("rb", buffering=0)
        self.file.seek(16 * index)
        row = np.frombuffer(self.file.read(16), "f4").copy()
        return torch.from_numpy(row), Y[index]


class Stream(IterableDataset):
    def __iter__(self):
        rng = torch.Generator().manual_seed(0)
        while True:
            x = torch.randn(4, generator=rng)
            yield x, x[:1]


@pytest.mark.parametrize(
    "kind", ["own generator", "collator", "file", "forked", "spawned", "stream"]
)
def test_data_sets_are_not_read_behind_training(kind, tmp_path):
    path = tmp_path / "records.bin"
    X.numpy().tofile(path)
    data = {
        "own generator": lambda: DataLoader(OwnNoise(), batch_size=16),
        "collator": lambda: loader(collate_fn=SeededCollator()),
        "file": lambda: DataLoader(OpensItsFile(path), batch_size=16),
        "forked": lambda: DataLoader(OpensItsFile(path), batch_size=16, num_workers=2),
        "spawned": lambda: DataLoader(
            TensorDataset(X, Y), batch_size=16, num_workers=1, multiprocessing_context="spawn"
        ),
        "stream": lambda: DataLoader(Stream(), batch_size=16),
    }[kind]
    # a spawned process imports torch anew, at every epoch
    sooner = (lambda: DataLoader(TensorDataset(X, Y), batch_size=16)) if kind == "spawned" else None
    tracker = Tracker(tmp_path / "runs", schedules.every(2), metrics=[Loss()], num_samples=32)
    require_same(Net, data, tracker, untracked=sooner, steps=6)
    assert [row[0] for row in rows_of(tmp_path / "runs")] == [0, 2, 4, 6]
    assert {row[2] for row in rows_of(tmp_path / "runs")} == {"ok"}


class Encoding(UserDict):
    pass


@dataclass
class Batch:
    x: torch.Tensor
    y: torch.Tensor


def _pair(items):
    return (torch.stack(parts) for parts in zip(*items, strict=True))


def _packed(items):
    x, y = _pair(items)
    return pack_sequence([row[:, None] for row in x]), y


COLLATED = {
    "mapping": (
        lambda items: Encoding(zip("xy", _pair(items), strict=True)),
        lambda b: (b["x"], b["y"]),
    ),
    "dataclass": (lambda items: Batch(*_pair(items)), lambda b: (b.x, b.y)),
    "with text": (lambda items: [["a"] * len(items), *_pair(items)], lambda b: b[1:]),
    "ragged": (
        lambda items: ([x for x, _ in items], [y for _, y in items]),
        lambda b: (torch.stack(b[0]), torch.stack(b[1])),
    ),
    "packed": (_packed, lambda b: (b[0].data.reshape(4, -1).T, b[1])),
}


@pytest.mark.parametrize("kind", COLLATED)
def test_batches_of_any_type_are_measured_whole(kind, tmp_path):
    collate, unpack = COLLATED[kind]

    class Unpacks(Net):
        def training_step(self, batch, batch_idx):
            return super().training_step(unpack(batch), batch_idx)

    data = lambda: loader(collate_fn=collate)  # noqa: E731
    tracker = Tracker(tmp_path, schedules.every(4), metrics=[Loss(), SHORT_LLC])
    require_same(Unpacks, data, tracker)
    for metric in ("loss", "llc"):
        assert {row[2] for row in rows_of(tmp_path, metric)} <= {"ok", "suspect"}
    seen = store_at(tmp_path).sql("SELECT max(samples_seen) FROM metrics").fetchall()
    assert seen == [(8 * 16,)]


# 4. The stub answers what a step asks


class Asks(Net):
    def training_step(self, batch, batch_idx):
        share = self.global_step / self.trainer.max_steps
        rate = self.optimizers().param_groups[0]["lr"]
        assert self.lr_schedulers() is None
        assert self.trainer.optimizers[0].param_groups[0]["lr"] == rate
        if self.logger:
            self.logger.experiment.add_scalar("loss", 1.0)
        scale = 1 + share + rate * self.trainer.num_training_batches + self.trainer.world_size
        return scale * super().training_step(batch, batch_idx)


def test_what_a_step_asks_its_trainer_is_answered(tmp_path):
    tracker = Tracker(tmp_path, schedules.every(4), metrics=[Loss()])
    require_same(Asks, loader, tracker)
    assert {row[2] for row in rows_of(tmp_path)} == {"ok"}
    assert "objective_mismatch" not in events_of(tmp_path)


class Gan(LightningModule):
    """Two optimizers by hand."""

    def __init__(self):
        super().__init__()
        self.maker, self.judge = nn.Linear(4, 4), nn.Linear(4, 1)
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        for optimizer, sign in zip(self.optimizers(), (1, -1), strict=True):
            loss = sign * self.judge(self.maker(batch[0])).mean()
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()

    def configure_optimizers(self):
        return [torch.optim.SGD(m.parameters(), lr=1e-2) for m in (self.maker, self.judge)]


def test_manual_optimization_is_told_what_to_do_and_trains_as_without(tmp_path):
    with pytest.warns(TrackerWarning, match=r"manual optimization.*Pass loss="):
        require_same(Gan, loader, Tracker(tmp_path, schedules.every(4), metrics=[Loss()]))


@pytest.mark.parametrize(
    "options",
    [
        {"precision": "bf16-mixed"},
        {"precision": "bf16-true"},
        {"accumulate_grad_batches": 2},
        {"gradient_clip_val": 0.1},
        {"callbacks": [EMAWeightAveraging]},
        {"callbacks": [lambda: StochasticWeightAveraging(1e-2, swa_epoch_start=1)]},
    ],
    ids=["autocast", "bf16", "accumulation", "clipping", "EMA", "SWA"],
)
def test_the_flags_that_people_set_train_as_without(options, tmp_path):
    made = {k: v for k, v in options.items() if k != "callbacks"}

    def state(tracker):
        callbacks = [make() for make in options.get("callbacks", ())]
        steps = {"epochs": 3, "steps": -1} if callbacks else {}
        return state_of(train(Net, loader, tracker, callbacks=callbacks, **made, **steps))

    tracker = Tracker(tmp_path, schedules.every(2), metrics=[Loss(), WeightNorm()])
    (without, _), (tracked, _) = state(None), state(tracker)
    for name, value in without.items():
        assert torch.equal(value, tracked[name]), name
    assert {row[2] for row in rows_of(tmp_path)} == {"ok"}
    assert "objective_mismatch" not in events_of(tmp_path)


# The fidelity check


class Sneaks:
    """An own data source that a copy does not have."""

    def __init__(self):
        self.rng = np.random.default_rng()

    def __deepcopy__(self, memo):
        return Sneaks()


class Drifts(Net):
    def __init__(self):
        super().__init__()
        self.source = Sneaks()

    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) + float(self.source.rng.random())


def test_an_objective_that_is_not_the_one_that_trains_makes_its_rows_suspect(tmp_path):
    tracker = Tracker(tmp_path, schedules.every(4), metrics=[Loss(), WeightNorm()])
    with pytest.warns(TrackerWarning, match="the objective is not the one that trains"):
        train(Drifts, loader, tracker)
    assert {row[2] for row in rows_of(tmp_path)} == {"suspect"}
    assert {row[2] for row in rows_of(tmp_path, "weight_norm")} == {"ok"}
    query = "SELECT attrs FROM events WHERE kind = 'objective_mismatch'"
    ((attrs,),) = store_at(tmp_path).sql(query).fetchall()
    assert '"training"' in attrs and '"copy"' in attrs and "generator" in attrs


def test_metrics_that_leave_something_behind_falsify_no_later_number(tmp_path):
    class Vandal:
        name = "vandal"

        def compute(self, subject):
            subject.model.net[0].register_forward_hook(lambda module, args, out: out * 0)
            subject.batches[0][0].mul_(100)
            raise RuntimeError("in the middle")
            yield

    with pytest.warns(TrackerWarning, match="in the middle"):
        tracker = Tracker(tmp_path / "a", schedules.every(4), metrics=[Vandal(), Loss()])
        train(Net, loader, tracker)
    train(Net, loader, Tracker(tmp_path / "b", schedules.every(4), metrics=[Loss()]))
    assert rows_of(tmp_path / "a") == rows_of(tmp_path / "b")
    assert "batches_restored" in events_of(tmp_path / "a")


class Hangs:
    name, timeout_s = "hangs", 0.2

    def compute(self, subject):
        while True:
            torch.ones(1).sum()
        yield


class Interrupts:
    name = "interrupts"

    def __init__(self, error, at):
        self.error, self.at = error, at

    def compute(self, subject):
        if subject.step == self.at:
            raise self.error
        yield from ()


def test_a_metric_that_hangs_is_a_failed_row(tmp_path):
    with pytest.warns(TrackerWarning, match=r"timeout_s=0\.2"):
        train(Net, loader, Tracker(tmp_path, schedules.at([4]), metrics=[Hangs(), Loss()]), steps=4)
    assert {row[2] for row in rows_of(tmp_path, "hangs")} == {"failed"}
    assert {row[2] for row in rows_of(tmp_path)} == {"ok"}


def test_an_exit_in_a_metric_is_a_failed_row_and_an_interrupt_stops_training(tmp_path):
    exits = Tracker(tmp_path / "a", schedules.every(4), metrics=[Interrupts(SystemExit(1), 4)])
    with pytest.warns(TrackerWarning, match="SystemExit"):
        train(Net, loader, exits)
    stop = Interrupts(KeyboardInterrupt(), 4)
    tracker = Tracker(tmp_path / "b", schedules.every(4), metrics=[Loss(), stop])
    with contextlib.suppress(KeyboardInterrupt, SystemExit):
        train(Net, loader, tracker, steps=20)
    assert [row[0] for row in rows_of(tmp_path / "b")] == [0, 4]
    assert "interrupted" in events_of(tmp_path / "b")


def test_metrics_may_be_computed_more_seldom_and_at_the_end_in_any_case(tmp_path):
    metrics = [Loss(), WeightNorm(every=3)]
    train(Net, loader, Tracker(tmp_path, schedules.every(2), metrics=metrics), steps=10)
    assert [row[0] for row in rows_of(tmp_path)] == [0, 2, 4, 6, 8, 10]
    assert [row[0] for row in rows_of(tmp_path, "weight_norm")] == [0, 6, 10]


def test_two_trackers_on_one_trainer_record_side_by_side(tmp_path):
    often = Tracker(tmp_path / "a", schedules.every(2), metrics=[WeightNorm()])
    seldom = Tracker(tmp_path / "b", schedules.every(4), metrics=[Loss()])
    require_same(Net, loader, often, callbacks=[seldom])
    assert [row[0] for row in rows_of(tmp_path / "a", "weight_norm")] == [0, 2, 4, 6, 8]
    assert set(rows_of(tmp_path / "b")) and often.state_key != seldom.state_key


def test_the_same_trainer_fitted_again_goes_on_in_its_run(tmp_path):
    tracker = Tracker(tmp_path, schedules.every(4), metrics=[Loss()])
    trainer = Trainer(max_steps=4, callbacks=[tracker], **QUIET)
    module = Net()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        trainer.fit(module, loader())
        trainer.fit_loop.epoch_loop.max_steps = 8
        trainer.fit(module, loader())
    assert len(store_at(tmp_path).runs()) == 1
    assert [row[0] for row in rows_of(tmp_path)] == [0, 4, 8]


def test_snapshots_that_a_killed_attempt_did_not_measure_are_measured_after_its_resume(tmp_path):
    class Dies(Callback):
        """Ends as by kill -9: nothing after the checkpoint reaches the store."""

        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            if trainer.global_step == 2:
                trainer.save_checkpoint(tmp_path / "a.ckpt")
                raise _Killed

    class _Killed(BaseException):
        pass

    tracker = Tracker(tmp_path / "runs", schedules.every(1), metrics=[Loss()], num_samples=64)
    session = "devtrack.tracking.session.Session.interrupt"
    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(_Killed):
        patch.setattr(session, lambda self, exception: self._held.clear())
        train(Net, loader, tracker, last=[Dies()])
    assert rows_of(tmp_path / "runs") == []
    torch.manual_seed(1)
    tracker = Tracker(tmp_path / "runs", schedules.every(1), metrics=[Loss()], num_samples=64)
    trainer = Trainer(max_steps=8, max_epochs=-1, callbacks=[tracker], **QUIET)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        trainer.fit(Net(), loader(), ckpt_path=tmp_path / "a.ckpt")
    assert [row[0] for row in rows_of(tmp_path / "runs")] == list(range(9))


# What else users bring


class TorchMetrics(Net):
    def __init__(self):
        super().__init__()
        self.error = torchmetrics.MeanSquaredError()

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        self.error(self.net(batch[0]), batch[1])
        return loss


class Several(Net):
    def training_step(self, batch, batch_idx):
        first = super().training_step(batch["a"], batch_idx)
        return first + super().training_step(batch["b"], batch_idx)


class Quantised(Net):
    def __init__(self):
        super().__init__()
        table = torch.quantize_per_tensor(torch.ones(4), 0.1, 0, torch.qint8)
        self.register_buffer("table", table)

    def training_step(self, batch, batch_idx):
        return super().training_step((batch[0] * self.table.dequantize(), batch[1]), batch_idx)


class Reentrant(Net):
    how: object = None

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(  # a checkpoint runs BatchNorm twice
            nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1)
        )

    def training_step(self, batch, batch_idx):
        x = batch[0].clone().requires_grad_()
        if self.how is not None:
            hidden = checkpoint(self.net[:4], x, use_reentrant=self.how)
        else:
            hidden = self.net[:4](x)
        return nn.functional.mse_loss(self.net[4:](hidden), batch[1])


@pytest.mark.filterwarnings("ignore:.*quantize_per_tensor.*")
@pytest.mark.filterwarnings("ignore:.*TypedStorage is deprecated.*")
@pytest.mark.parametrize("make", [TorchMetrics, Several, Quantised], ids=lambda kind: kind.__name__)
def test_what_else_a_step_is_made_of(make, tmp_path):
    data = {"a": loader(shuffle=False), "b": loader(shuffle=False)} if make is Several else loader()
    tracker = Tracker(tmp_path, schedules.every(4), metrics=[Loss(), SHORT_LLC])
    torch.manual_seed(1)
    train(make, data, tracker)
    for metric in ("loss", "llc"):
        assert {row[2] for row in rows_of(tmp_path, metric)} <= {"ok", "suspect"}
    assert not {"objective_mismatch", "snapshot_failed"} & set(events_of(tmp_path))
    seen = store_at(tmp_path).sql("SELECT max(samples_seen) FROM metrics").fetchall()
    assert seen == [(8 * 16 * (2 if make is Several else 1),)]


def test_checkpointed_activations_have_the_gradients_of_the_chain(tmp_path):
    values = []
    for how in (None, False, True):
        kind = type("Reentrant", (Reentrant,), {"how": how})
        tracker = Tracker(tmp_path / str(how), schedules.at([8]), metrics=[SHORT_LLC])
        train(kind, loader, tracker)
        values.append(rows_of(tmp_path / str(how), "llc")[-1][1])
    # rounding grows along a chain; gradients at other weights would change the value by its size
    assert values[1:] == pytest.approx([values[0]] * 2, rel=1e-2)


def test_the_other_package_of_lightning_is_known(tmp_path):
    twin = pytest.importorskip("pytorch_lightning")

    class Twin(twin.LightningModule):
        __init__, training_step = Net.__init__, Net.training_step
        configure_optimizers = Net.configure_optimizers

    Twin.__init__ = lambda self: (
        twin.LightningModule.__init__(self),
        setattr(self, "net", nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))),
    )[0]
    tracker = Tracker(tmp_path, schedules.every(4), metrics=[Loss()])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore")
        twin.Trainer(max_steps=8, callbacks=[tracker], **QUIET).fit(Twin(), loader())
    assert [row[::2] for row in rows_of(tmp_path)] == [(0, "ok"), (4, "ok"), (8, "ok")]
