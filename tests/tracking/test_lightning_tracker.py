import json
import random
import warnings
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.logger import Logger
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler, TensorDataset

from devtrack import (
    LLC,
    FunctionMetric,
    LinearProbe,
    Loss,
    Monitor,
    Row,
    WeightNorm,
    open_store,
    schedules,
)
from devtrack.errors import ConfigError, DataError, StoreError
from devtrack.store.readers import read_config_events
from devtrack.tracking._fault_isolation import TrackerWarning
from devtrack.tracking.lightning_tracker import Tracker
from devtrack.transitions.detection import find_transitions
from tests.training import QUIET

X = torch.randn(64, 6, generator=torch.Generator().manual_seed(0))
Y = (X[:, :1] > 0).float()


class Net(LightningModule):
    """Dropout, BatchNorm and a frozen submodule in eval mode: what an observer could disturb."""

    def __init__(self):
        super().__init__()
        self.frozen = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.5))
        self.frozen.eval().requires_grad_(False)
        self.body = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3))
        self.head = nn.Linear(8, 1)

    def forward(self, x):
        return self.head(self.body(self.frozen(x)))

    def training_step(self, batch, batch_idx):
        x, y = batch[0], batch[1]
        loss = nn.functional.binary_cross_entropy_with_logits(self(x), y)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.training_step(batch, batch_idx))

    test_step = validation_step

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=1e-2)


class Spoiler:
    """Draws from every stream, flips every mode, and raises."""

    name = "spoiler"

    def compute(self, subject):
        subject.model.train()
        random.random()
        np.random.rand(2)
        torch.rand(2)
        with torch.no_grad():
            for p in subject.model.parameters():
                p.zero_()
        raise RuntimeError("boom")


SMALL_LLC = LLC(lr=1e-3, num_chains=2, num_draws=5, num_burnin_steps=2)


def all_metrics():
    return [
        Spoiler(),
        Loss(),
        WeightNorm(sites=("body",)),
        SMALL_LLC,
        LinearProbe(name="sign", site="body", labels=lambda b: (b[0][:, 1] > 0).long()),
        FunctionMetric("mean_output", lambda model, batch: model(batch[0]).flatten()),
    ]


def fit(
    tracker=None, *, steps=12, module=None, loader=None, callbacks=(), ckpt_path=None, **options
):
    trainer = Trainer(
        max_steps=steps,
        max_epochs=-1,
        callbacks=[*callbacks, *([tracker] if tracker else [])],
        **QUIET | options,
    )
    if loader is None:
        loader = DataLoader(TensorDataset(X, Y), batch_size=16, shuffle=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        module = module or Net()
        trainer.fit(module, loader, ckpt_path=ckpt_path)
    return trainer, module


@lru_cache(maxsize=4)
def store_at(store):
    """Open a store once for all that a test asks of it; what is written later is seen as well."""
    return open_store(store)


def steps_of(store, metric="loss", view="metrics"):
    query = f"SELECT step FROM {view} WHERE metric = ? ORDER BY attempt, step"
    return [step for (step,) in store_at(store).sql(query, [metric]).fetchall()]


class Noisy(Dataset):
    """Draws from every stream for each sample, and remembers the order it was asked in."""

    def __len__(self):
        return len(X)

    def __getitem__(self, index):
        noise = torch.rand(()) + random.random() + float(np.random.rand())
        return X[index] + 0.01 * noise, Y[index], index


class Recorder(Net):
    def __init__(self):
        super().__init__()
        self.trace = []

    def on_train_batch_end(self, outputs, batch, batch_idx):
        modes = [module.training for module in self.modules()]
        weights = [v.clone() for v in self.state_dict().values()]
        optimizer = [
            v.clone() if isinstance(v, torch.Tensor) else v
            for state in self.trainer.optimizers[0].state.values()
            for v in state.values()
        ]
        streams = (random.getstate(), np.random.get_state()[1].tolist())
        grads = [p.grad.clone() for p in self.parameters() if p.grad is not None]
        self.trace.append(
            (batch[2].tolist(), modes, weights, optimizer, streams, grads, torch.get_rng_state())
        )


def _equal(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(_equal(x, y) for x, y in zip(a, b, strict=True))
    return a == b


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # where one core is free
@pytest.mark.parametrize("num_workers", [0, 2])
def test_training_is_bitwise_the_same_with_and_without(tmp_path, num_workers):
    traces = []
    for tracked in (False, True):
        torch.manual_seed(1)
        random.seed(1)
        np.random.seed(1)
        loader = DataLoader(Noisy(), batch_size=16, shuffle=True, num_workers=num_workers)
        tracker = Tracker(tmp_path, schedules.every(1), metrics=all_metrics()) if tracked else None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TrackerWarning)
            _, module = fit(
                tracker, steps=6, module=Recorder(), loader=loader, accumulate_grad_batches=2
            )
        traces.append(module.trace)
    assert len(traces[0]) == 12
    for step, (without, with_tracker) in enumerate(zip(*traces, strict=True)):
        assert _equal(without, with_tracker), f"differs at batch {step}"
    ok = store_at(tmp_path).sql("SELECT DISTINCT metric FROM metrics WHERE status = 'ok'")
    assert {"loss", "weight_norm", "probe/sign/accuracy", "mean_output"} <= {
        metric for (metric,) in ok.fetchall()
    }


def test_a_failing_metric_is_a_row_at_every_step_and_one_warning(tmp_path):
    with pytest.warns(TrackerWarning, match="metric 'spoiler' failed at step 0.*boom") as caught:
        fit(Tracker(tmp_path, schedules.every(4), metrics=[Spoiler(), Loss()]))
    assert len([w for w in caught if w.category is TrackerWarning]) == 1
    rows = store_at(tmp_path).sql(
        "SELECT step, status, value, attrs->>'error' FROM metrics "
        "WHERE metric = 'spoiler' ORDER BY step"
    )
    assert rows.fetchall() == [
        (step, "failed", None, "RuntimeError: boom") for step in (0, 4, 8, 12)
    ]
    assert steps_of(tmp_path) == [0, 4, 8, 12]


def test_the_one_line_of_the_readme_works_on_any_module(tmp_path):
    fit(Tracker(tmp_path, schedules.at([5])), steps=5)
    found = store_at(tmp_path).sql("SELECT DISTINCT metric FROM metrics ORDER BY 1").fetchall()
    assert [metric for (metric,) in found] == ["llc", "loss", "lr", "weight_norm"]
    store = open_store(tmp_path)
    assert [s for (s,) in store.sql("SELECT step FROM snapshots ORDER BY 1").fetchall()] == [0, 5]
    assert store.run("Net").config["num_parameters"] > 0


def test_accumulated_batches_are_one_step(tmp_path):
    tracker = Tracker(tmp_path, schedules.every(1), metrics=[Loss()])
    fit(tracker, steps=5, accumulate_grad_batches=2)
    assert steps_of(tmp_path) == [0, 1, 2, 3, 4, 5]
    seen = store_at(tmp_path).sql("SELECT samples_seen FROM metrics WHERE metric='loss' ORDER BY 1")
    assert [n for (n,) in seen.fetchall()] == [32 * step for step in range(6)]


class TwoOptimizers(Net):
    def __init__(self):
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        for optimizer in self.optimizers():
            optimizer.zero_grad()
            self.manual_backward(super().training_step(batch, batch_idx))
            optimizer.step()

    def configure_optimizers(self):
        return [torch.optim.SGD(m.parameters(), lr=0.1) for m in (self.body, self.head)]


def test_two_manual_optimizers_cross_the_schedule(tmp_path):
    tracker = Tracker(tmp_path, schedules.at([3, 6]), metrics=[WeightNorm(), Loss()])
    with pytest.warns(TrackerWarning, match="'loss' failed .* manual optimization.*Pass loss="):
        fit(tracker, steps=8, module=TwoOptimizers())
    assert steps_of(tmp_path, "weight_norm") == [0, 4, 6, 8]
    errors = store_at(tmp_path).sql("SELECT attrs->>'error' FROM metrics WHERE metric = 'loss'")
    assert all("manual optimization" in error for (error,) in errors.fetchall())


def test_what_is_not_training_is_not_observed(tmp_path):
    tracker = Tracker(tmp_path / "a", metrics=[Loss()])
    fit(tracker, fast_dev_run=True)
    trainer = Trainer(
        logger=False, callbacks=[tracker], accelerator="cpu", enable_progress_bar=False
    )
    loader = DataLoader(TensorDataset(X, Y), batch_size=16)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore")
        trainer.validate(Net(), loader, verbose=False)
        trainer.test(Net(), loader, verbose=False)
    assert not (tmp_path / "a").exists()


def test_validation_within_training_adds_no_rows(tmp_path):
    tracker = Tracker(tmp_path, schedules.every(4), metrics=[Loss()])
    loader = DataLoader(TensorDataset(X, Y), batch_size=16)
    trainer = Trainer(max_steps=8, num_sanity_val_steps=2, callbacks=[tracker], **QUIET)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore")
        trainer.fit(Net(), loader, loader)
    assert steps_of(tmp_path) == [0, 4, 8]


def test_the_default_checkpoint_callback_stays(tmp_path):
    tracker = Tracker(tmp_path / "runs", metrics=[Loss()])
    trainer, _ = fit(tracker, steps=2, enable_checkpointing=True, default_root_dir=tmp_path)
    assert len(trainer.checkpoint_callbacks) == 1


def test_a_resumed_training_has_one_trajectory(tmp_path):
    store, checkpoints = tmp_path / "runs", tmp_path / "ckpt"

    def tracker():
        return Tracker(store, schedules.every(2), metrics=[Loss()])

    def save():
        return ModelCheckpoint(checkpoints, every_n_train_steps=10, save_top_k=-1)

    fit(tracker(), steps=15, callbacks=[save()], enable_checkpointing=True)
    (checkpoint,) = checkpoints.glob("*step=10.ckpt")
    fit(tracker(), steps=20, callbacks=[save()], enable_checkpointing=True, ckpt_path=checkpoint)

    assert steps_of(store) == [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20]
    assert steps_of(store, view="metrics_all") == [
        *(0, 2, 4, 6, 8, 10, 12, 14, 15),
        *(12, 14, 16, 18, 20),
    ]
    opened = open_store(store)
    assert len(opened.runs()) == 1
    assert opened.sql("SELECT step FROM events WHERE kind = 'resume'").fetchall() == [(10,)]
    seen = opened.sql("SELECT step, samples_seen FROM metrics WHERE metric = 'loss'").fetchall()
    assert all(samples == 16 * step for step, samples in seen)


def test_two_trainings_that_draw_one_id_are_two_runs_and_keep_their_name(tmp_path, monkeypatch):
    monkeypatch.setattr("devtrack.tracking._runs.new_run_id", lambda name, now: "drawn-twice")
    for _ in range(2):
        fit(Tracker(tmp_path, schedules.every(4), metrics=[Loss()], name="模型"), steps=4)
    first, second = open_store(tmp_path).runs()
    assert first.run_id == "drawn-twice" != second.run_id
    assert first.name == second.name == "模型"
    assert store_at(tmp_path).sql("SELECT DISTINCT attempts FROM runs").fetchall() == [(1,)]


def test_a_resumed_training_keeps_the_step_size_that_was_found(tmp_path):
    store, checkpoints = tmp_path / "runs", tmp_path / "ckpt"

    def go(steps, **options):
        metrics = [LLC(num_chains=2, num_draws=8, num_burnin_steps=8)]
        save = ModelCheckpoint(checkpoints, every_n_train_steps=4, save_top_k=-1)
        tracker = Tracker(store, schedules.every(4), metrics=metrics)
        fit(tracker, steps=steps, callbacks=[save], enable_checkpointing=True, **options)

    go(4)
    (checkpoint,) = checkpoints.glob("*step=4.ckpt")
    go(8, ckpt_path=checkpoint)
    opened = open_store(store)
    found = opened.sql("SELECT step, attrs->'lr' FROM events WHERE kind = 'calibrated'").fetchall()
    used = opened.sql("SELECT step, attrs->'lr' FROM llc ORDER BY step").fetchall()
    assert [step for step, _ in found] == [0]
    assert [step for step, _ in used] == [0, 4, 8]
    assert {lr for _, lr in used} == {found[0][1]}


def test_the_rows_of_what_was_measured_are_on_disk_when_a_checkpoint_is(tmp_path):
    class Crash(ModelCheckpoint):
        """Looks, from inside the save, at what another process would find."""

        def _save_checkpoint(self, trainer, filepath):
            super()._save_checkpoint(trainer, filepath)
            seen.append((trainer.global_step, max(steps_of(tmp_path / "runs"))))

    seen: list[tuple[int, int]] = []
    fit(
        Tracker(tmp_path / "runs", schedules.every(1), metrics=[Loss()], num_samples=16),
        steps=6,
        callbacks=[Crash(tmp_path, every_n_train_steps=2, save_top_k=-1)],
        enable_checkpointing=True,
    )
    assert [pair for pair in seen if pair[0] != pair[1]] == []
    assert len(seen) >= 3


def test_a_run_that_the_store_does_not_hold_starts_a_child(tmp_path):
    checkpoint = tmp_path / "a.ckpt"
    first = Tracker(tmp_path / "one", metrics=[Loss()])
    trainer, _ = fit(first, steps=4)
    trainer.save_checkpoint(checkpoint)
    second = Tracker(tmp_path / "two", metrics=[Loss()])
    fit(second, steps=6, ckpt_path=checkpoint)
    info = store_at(tmp_path / "two").run()
    assert (info.parent_run_id, info.parent_step) == (first.run_id, 4)
    assert min(steps_of(tmp_path / "two")) == 4
    seen = store_at(tmp_path / "two").sql("SELECT min(samples_seen) FROM metrics").fetchall()
    assert seen == [(4 * 16,)]


def test_trainings_that_branch_off_keep_their_rows_apart(tmp_path):
    store, checkpoint = tmp_path / "runs", tmp_path / "a.ckpt"

    def branch(**options):
        tracker = Tracker(store, schedules.every(2), metrics=[Loss()], **options)
        fit(tracker, steps=8, ckpt_path=checkpoint)
        return tracker.run_id

    base = Tracker(store, schedules.every(2), metrics=[Loss()], name="base")
    trainer, _ = fit(base, steps=4)
    trainer.save_checkpoint(checkpoint)
    assert branch() == base.run_id
    assert branch(name="base") == base.run_id
    named, asked = branch(name="other"), branch(resume=False)
    opened = open_store(store)
    parents = {info.run_id: (info.parent_run_id, info.parent_step) for info in opened.runs()}
    assert parents == {
        base.run_id: (None, None),
        named: (base.run_id, 4),
        asked: (base.run_id, 4),
    }
    assert opened.run("other").run_id == named
    steps = opened.sql(
        "SELECT run_id, list(step ORDER BY step) FROM metrics WHERE metric = 'loss' GROUP BY 1"
    )
    assert dict(steps.fetchall()) == {
        base.run_id: [0, 2, 4, 6, 8],
        named: [4, 6, 8],
        asked: [4, 6, 8],
    }


def test_a_resume_says_what_it_puts_aside_and_what_it_is_made_with(tmp_path):
    def go(steps, num_samples, **options):
        tracker = Tracker(tmp_path / "runs", metrics=[Loss()], num_samples=num_samples)
        return fit(tracker, steps=steps, **options)[0]

    go(4, 64).save_checkpoint(tmp_path / "a.ckpt")
    for num_samples in (32, 16):
        go(8, num_samples, ckpt_path=tmp_path / "a.ckpt")
    events = store_at(tmp_path / "runs").sql(
        "SELECT message, (attrs->'config'->>'num_samples')::INT, attrs->'versions'->>'devtrack' "
        "FROM events WHERE kind = 'resume' ORDER BY attempt"
    )
    version = metadata.version("devtrack")
    assert events.fetchall() == [
        ("resumed at step 4", 32, version),
        (
            "resumed at step 4; what was recorded after it, up to step 8, is in metrics_all",
            16,
            version,
        ),
    ]


def test_a_training_that_breaks_off_keeps_its_rows(tmp_path):
    class Breaks(Net):
        def on_train_batch_end(self, outputs, batch, batch_idx):
            if self.global_step == 5:
                raise ZeroDivisionError("the user's own")

    with pytest.raises(ZeroDivisionError):
        fit(Tracker(tmp_path, schedules.every(1), metrics=[Loss()]), module=Breaks())
    assert steps_of(tmp_path) == [0, 1, 2, 3, 4, 5]
    events = store_at(tmp_path).sql("SELECT kind, message FROM events ORDER BY ts_utc").fetchall()
    assert events[0] == ("interrupted", "ZeroDivisionError: the user's own")


def test_a_stream_is_measured_on_its_first_batches(tmp_path):
    class Stream(IterableDataset):
        def __iter__(self):
            yield from zip(X, Y, strict=True)

    seen = FunctionMetric("seen", lambda model, batch: batch[0].sum(dim=1))
    tracker = Tracker(tmp_path, schedules.every(2), metrics=[Loss(), seen], num_samples=48)
    fit(tracker, steps=4, loader=DataLoader(Stream(), batch_size=16))
    assert steps_of(tmp_path) == [0, 2, 4]
    values = store_at(tmp_path).sql("SELECT DISTINCT value FROM metrics WHERE metric = 'seen'")
    assert values.fetchall() == [(pytest.approx(float(X[:48].sum(dim=1).mean()), rel=1e-6),)]


@dataclass
class Wrapped:
    """A part of a batch of the user's own kind."""

    x: torch.Tensor


class Fresh(IterableDataset):
    """Never gives the same batch twice; ``last`` is an item that it ends with."""

    def __init__(self, last):
        self.last = last

    def __iter__(self):
        while True:
            yield [torch.randn(8, 6), torch.rand(8, 1).round(), self.last]


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        ("text", []),
        (Wrapped(X), []),
        (
            lambda: "not to be pickled",
            [(0, "evaluation_set_failed"), (4, "evalset_change"), (4, "evaluation_set_failed")],
        ),
    ],
    ids=["plain", "of the user's own", "unwritten"],
)
def test_a_resumed_stream_is_measured_on_what_its_run_began_with(tmp_path, last, expected):
    store, save = tmp_path / "runs", ModelCheckpoint(tmp_path, every_n_train_steps=2)
    loader = DataLoader(Fresh(last), batch_size=None)

    def go(steps, **options):
        which = FunctionMetric("which", lambda model, batch: float(batch[0].mean()))
        tracker = Tracker(store, schedules.every(2), metrics=[which, Loss()], num_samples=16)
        fit(tracker, steps=steps, loader=loader, **options)

    go(2, callbacks=[save], enable_checkpointing=True)
    go(6, ckpt_path=save.best_model_path)
    opened = open_store(store)
    rows = opened.sql("SELECT step, value FROM metrics WHERE metric = 'which' ORDER BY step")
    before, at_checkpoint, after, end = (value for _, value in rows.fetchall())
    assert before == at_checkpoint and after == end
    assert (before == after) == (expected == [])
    events = opened.sql("SELECT step, kind FROM events WHERE kind NOT IN ('resume', 'cost')")
    assert events.fetchall() == expected


def test_a_resume_on_other_data_is_an_event_that_explains_the_jump(tmp_path):
    store, checkpoint = tmp_path / "runs", tmp_path / "first.ckpt"

    def go(steps, *, name="Net", **options):
        which = FunctionMetric("which", lambda model, batch: batch[0].mean(dim=1))
        metrics = [Loss(), which]
        tracker = Tracker(store, schedules.every(2), metrics=metrics, name=name, **options)
        start = checkpoint if checkpoint.exists() else None
        trainer, _ = fit(tracker, steps=steps, ckpt_path=start)
        return trainer, tracker.run_id

    def kinds(run_id):
        return [
            event.kind for event in read_config_events(store_at(store), run_id) if event.step == 40
        ]

    go(40)[0].save_checkpoint(checkpoint)
    assert kinds(go(42)[1]) == ["resume"]
    assert kinds(go(42, num_samples=32)[1]) == ["resume"]  # a run keeps the data that it began with
    assert kinds(go(42, num_samples=32, name="other")[1]) == []
    trainer, run_id = go(80, data=(X + 1, Y))
    assert kinds(run_id) == ["evalset_change", "resume"]
    found = find_transitions(store_at(store), run_id)
    moved = [one for one in found if "which" in {move.metric for move in one.moves}]
    assert [one.event for one in moved] == ["evalset_change"]

    trainer.save_checkpoint(checkpoint)
    run_id = go(82, data=(X + 1, Y))[1]
    events = [event[:2] for event in read_config_events(store_at(store), run_id)]
    assert events == [(40, "evalset_change"), (40, "resume"), (80, "resume")]


def test_data_that_cannot_be_used_are_refused_before_training(tmp_path):
    class Stream(IterableDataset):
        def __iter__(self):
            yield from zip(X, Y, strict=True)

    with pytest.raises(DataError, match="data of type Stream: must be a DataLoader"):
        fit(Tracker(tmp_path / "runs", metrics=[Loss()], data=Stream()))
    assert not (tmp_path / "runs").exists()


def test_a_sampler_that_cannot_be_copied_does_not_matter(tmp_path):
    class Once(Sampler):
        def __init__(self):
            self.order = (i % 64 for i in range(10_000))

        def __iter__(self):
            yield from self.order

    loader = DataLoader(TensorDataset(X, Y), batch_size=16, sampler=Once())
    metrics = [WeightNorm(), Loss(), Loss(name="own", data=[(X, Y)])]
    tracker = Tracker(tmp_path, schedules.every(2), metrics=metrics, num_samples=64)
    trainer, _ = fit(tracker, loader=loader)
    assert trainer.global_step == 12
    found = store_at(tmp_path).sql("SELECT DISTINCT metric, status FROM metrics ORDER BY ALL")
    assert found.fetchall() == [
        ("loss", "ok"),
        ("lr", "ok"),
        ("own", "ok"),
        ("weight_norm", "ok"),
    ]


def test_numbers_go_to_the_loggers_unless_told_not_to(tmp_path):
    for use in (True, False):
        logger = CSVLogger(tmp_path / str(use))
        tracker = Tracker(tmp_path / "runs", schedules.every(2), metrics=[Loss()], use_loggers=use)
        fit(tracker, steps=4, logger=logger, log_every_n_steps=1)
        text = (tmp_path / str(use) / "lightning_logs" / "version_0" / "metrics.csv").read_text()
        assert ("devtrack/loss" in text) is use, text


def test_the_cap_on_overhead_postpones_observations(tmp_path):
    class Slow:
        name = "slow"

        def compute(self, subject):
            torch.linalg.svd(torch.ones(300, 300))
            yield Row("slow", 1.0)

    for store, cap in (("free", None), ("capped", 1e-6)):
        fit(Tracker(tmp_path / store, schedules.every(1), metrics=[Slow()], max_overhead=cap))
    assert steps_of(tmp_path / "free", "slow") == list(range(13))
    assert steps_of(tmp_path / "capped", "slow") == [0, 12]


def test_the_cost_is_told(tmp_path):
    tracker = Tracker(tmp_path, schedules.every(4), metrics=[Loss()])
    fit(tracker)
    ((message,),) = (
        store_at(tmp_path).sql("SELECT message FROM events WHERE kind = 'cost'").fetchall()
    )
    assert message.startswith("4 observations in ")
    assert message.endswith("rows: 8 ok")


def test_an_error_of_ours_is_a_warning_and_training_goes_on(tmp_path, monkeypatch):
    def broken(*args, **kwargs):
        raise OSError("disk on fire")

    monkeypatch.setattr("devtrack.tracking._observer.evaluate", broken)
    tracker = Tracker(tmp_path, schedules.every(1), metrics=[Loss()])
    with pytest.warns(TrackerWarning, match="disk on fire.*Training continues.*doctor") as caught:
        trainer, _ = fit(tracker)
    assert trainer.global_step == 12
    assert len([w for w in caught if w.category is TrackerWarning]) == 1


class Spectral(Net):
    """Has a buffer that safetensors cannot hold."""

    def __init__(self):
        super().__init__()
        self.register_buffer("modes", torch.zeros(3, dtype=torch.complex128))


@pytest.mark.parametrize("steps", [1, 8])  # with one step, the last snapshot fails at the close
def test_a_snapshot_that_cannot_be_written_costs_no_observation(tmp_path, steps):
    with pytest.warns(TrackerWarning, match="could not write a snapshot .*complex128") as caught:
        tracker = Tracker(tmp_path, schedules.every(1), metrics=[WeightNorm()])
        fit(tracker, steps=steps, module=Spectral())
    assert len([w for w in caught if w.category is TrackerWarning]) == 1
    assert steps_of(tmp_path, "weight_norm") == list(range(steps + 1))
    failed = "SELECT step FROM events WHERE kind = 'snapshot_failed' ORDER BY step"
    found = [step for (step,) in store_at(tmp_path).sql(failed).fetchall()]
    assert found == list(range(steps + 1))


class Offline(Logger):
    name, version = "offline", "0"

    def log_metrics(self, metrics, step=None):
        if any(name.startswith("devtrack/") for name in metrics):
            raise RuntimeError("no network")

    def log_hyperparams(self, params, *args, **kwargs):
        pass


def test_each_kind_of_failure_is_said_once_in_its_own_words(tmp_path, monkeypatch):
    def broken(*args, **kwargs):
        raise OSError("disk on fire")

    monkeypatch.setattr("devtrack.tracking._observer.Observer.drain", broken)
    csv = CSVLogger(tmp_path / "csv")
    with pytest.warns(TrackerWarning) as caught:
        trainer, _ = fit(
            Tracker(tmp_path / "runs", schedules.every(4), metrics=[Loss()]),
            logger=[Offline(), csv],
            log_every_n_steps=1,
            callbacks=[ModelCheckpoint(tmp_path, every_n_train_steps=4)],
            enable_checkpointing=True,
        )
    assert [str(w.message) for w in caught if w.category is TrackerWarning] == [
        "devtrack could not forward numbers to Offline (RuntimeError: no network). "
        "Training continues; the store has them.",
        "devtrack could not write its rows (OSError: disk on fire). Training continues; "
        f"run `devtrack doctor --store {tmp_path / 'runs'}`.",
    ]
    assert trainer.global_step == 12
    assert steps_of(tmp_path / "runs") == [0, 4, 8, 12]
    text = next((tmp_path / "csv").glob("**/metrics.csv")).read_text()
    assert "devtrack/loss" in text, "the next logger has its numbers all the same"


def test_a_store_that_cannot_be_is_said_before_training(tmp_path):
    file = tmp_path / "runs"
    file.write_text("not a store")
    with pytest.raises(StoreError):
        fit(Tracker(file, metrics=[Loss()]))


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ([Loss(), Loss()], r"same name \['loss'\]: names must be unique.*Pass name="),
        ([lambda m, b: 1.0], "must be objects with a name and compute.*FunctionMetric"),
        ([SimpleNamespace(name=" ", compute=print)], "must be objects with a name and compute"),
        ([Loss], "must be objects with a name and compute.*an instance such as Loss\\(\\)"),
    ],
)
def test_bad_metrics_are_refused_at_the_door(metrics, message):
    with pytest.raises(ConfigError, match=message):
        Tracker("never-made", metrics=metrics)


def test_a_home_is_found_and_metrics_may_come_one_by_one():
    tracker = Tracker("~/runs", metrics=(metric for metric in (Loss(), WeightNorm())))
    assert tracker.store == Path.home() / "runs"
    assert [metric.name for metric in tracker.metrics] == ["loss", "weight_norm"]


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"schedule": 100}, r"schedule=100: must be a schedule.*Pass schedules\.every\(100\)"),
        ({"schedule": [1, 2]}, r"schedule=\[1, 2\]: must be.*schedules\.at"),
        ({"schedule": schedules.Every}, "schedule=<class .*must be a schedule"),
        ({"metrics": Loss()}, r"metrics=Loss\(.*must be a list.*metrics=\[Loss\(\)\]"),
        ({"name": ""}, "name='': must be a text"),
        ({"name": 3}, "name=3: must be a text"),
        ({"num_samples": 0}, "num_samples=0: must be an integer of at least 1"),
        ({"num_samples": 1e3}, r"num_samples=1000\.0: must be an integer"),
        ({"max_overhead": "5%"}, r"max_overhead='5%': must be a share.*Pass max_overhead=0\.05"),
        ({"max_overhead": -0.1}, r"max_overhead=-0\.1: must be"),
        ({"max_overhead": float("nan")}, "max_overhead=nan: must be"),
        ({"monitor": Monitor}, r"monitor=<class .*must be a Monitor.*Pass Monitor\(\)"),
        ({"seed": -1}, "seed=-1: must be an integer of at least 0"),
        ({"max_data_gb": 0}, r"max_data_gb=0: must be a finite number above 0"),
        (
            {"metrics": [SimpleNamespace(name="own", compute=print, every=0)]},
            "metric 'own' with every=0: must be an integer",
        ),
        (
            {"metrics": [SimpleNamespace(name="own", compute=print, timeout_s="1")]},
            "metric 'own' with timeout_s='1': must be",
        ),
    ],
)
def test_what_cannot_work_is_refused_at_the_door(argument, message):
    with pytest.raises(ConfigError, match=message):
        Tracker("never-made", **argument)


def test_lightning_cli_can_configure_it(tmp_path):
    cli = pytest.importorskip("lightning.pytorch.cli")
    config = tmp_path / "config.yaml"
    config.write_text(f"""
trainer:
  max_steps: 4
  accelerator: cpu
  logger: false
  enable_checkpointing: false
  enable_progress_bar: false
  enable_model_summary: false
  callbacks:
    - class_path: devtrack.Tracker
      init_args:
        store: {tmp_path / "runs"}
        schedule:
          class_path: devtrack.schedules.Every
          init_args: {{n: 2}}
        metrics:
          - class_path: devtrack.Loss
          - class_path: devtrack.LLC
            init_args: {{num_draws: 5, num_burnin_steps: 2, num_chains: 2}}
""")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore")
        parsed = cli.LightningCLI(
            Net, run=False, save_config_callback=None, args=["--config", str(config)]
        )
        parsed.trainer.fit(parsed.model, DataLoader(TensorDataset(X, Y), batch_size=16))
    assert steps_of(tmp_path / "runs", "llc") == [0, 2, 4]


class OwnPace(torch.optim.SGD):
    """Steps without a learning rate in its first group, as Adafactor with relative steps does."""

    def step(self, closure=None):
        rates = [group["lr"] for group in self.param_groups]
        for group, rate in zip(self.param_groups, rates, strict=True):
            group["lr"] = rate if isinstance(rate, float) else 1e-2
        loss = super().step(closure)
        for group, rate in zip(self.param_groups, rates, strict=True):
            group["lr"] = rate
        return loss


class PacesItself(Net):
    rate: object = None

    def configure_optimizers(self):
        groups = [{"params": self.body.parameters()}, {"params": self.head.parameters()}]
        optimizer = OwnPace(groups, lr=1e-2)
        optimizer.param_groups[0]["lr"] = self.rate
        return optimizer


def test_an_optimizer_without_a_learning_rate_is_observed_without_one(tmp_path):
    trainer, _ = fit(Tracker(tmp_path, schedules.every(6), metrics=[Loss()]), module=PacesItself())
    assert trainer.global_step == 12
    rates = store_at(tmp_path).sql("SELECT step, site, value FROM metrics WHERE metric = 'lr'")
    assert sorted(rates.fetchall()) == [(step, "optimizer.1", 1e-2) for step in (0, 6, 12)]
    assert steps_of(tmp_path) == [0, 6, 12]


def test_a_learning_rate_that_cannot_be_read_costs_no_observation(tmp_path):
    class Words(PacesItself):
        rate = "fast"

    with pytest.warns(TrackerWarning, match="read the learning rates .*fast.*Training continues"):
        trainer, _ = fit(Tracker(tmp_path, schedules.every(6), metrics=[Loss()]), module=Words())
    assert trainer.global_step == 12
    assert steps_of(tmp_path) == [0, 6, 12]


def test_the_momentum_of_an_optimizer_is_recorded_once(tmp_path):
    class Heavy(Net):
        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=1e-2, momentum=0.9)

    store, save = tmp_path / "runs", ModelCheckpoint(tmp_path, every_n_train_steps=2)
    tracker = lambda: Tracker(store, schedules.every(2), metrics=[WeightNorm()])  # noqa: E731
    fit(tracker(), steps=2, module=Heavy(), callbacks=[save], enable_checkpointing=True)
    fit(tracker(), steps=4, module=Heavy(), ckpt_path=save.best_model_path)
    assert read_config_events(store_at(store)) == [
        (0.0, "optimizer_start", 0.9),
        (2.0, "resume", 0.0),
    ]
    fit(Tracker(store, name="Adam", metrics=[WeightNorm()]), steps=2)
    assert read_config_events(store_at(store), "Adam") == []


class Thaws(Net):
    """Trains its head alone at first, as one fine-tunes."""

    def __init__(self, *, at_step):
        super().__init__()
        self.body.requires_grad_(False)
        self.at_step = at_step

    def on_train_batch_start(self, batch, batch_idx):
        self.body.requires_grad_(self.global_step >= self.at_step)


def test_what_is_thawed_is_sampled_from_then_on_and_an_event_says_so(tmp_path):
    def events(run_id):
        query = "SELECT step, attrs->>'thawed' FROM events WHERE kind = ? AND run_id = ?"
        return store_at(tmp_path).sql(query, ["parameters_changed", run_id]).fetchall()

    tracker = Tracker(tmp_path, schedules.every(2), metrics=[SMALL_LLC], monitor=Monitor())
    trainer, _ = fit(tracker, steps=6, module=Thaws(at_step=3))
    query = "SELECT step, CAST(attrs->'num_parameters' AS INT) FROM llc ORDER BY step"
    sampled = store_at(tmp_path).sql(query).fetchall()
    head, body = 8 + 1, 8 * 8 + 8 + 2 * 8
    assert sampled == [(0, head), (2, head), (4, head + body), (6, head + body)]
    ((step, names),) = events(tracker.run_id)
    thawed = ["body.0.weight", "body.0.bias", "body.1.weight", "body.1.bias"]
    assert (step, json.loads(names)) == (4, thawed)

    trainer.save_checkpoint(tmp_path / "thawed.ckpt")
    tracker = Tracker(tmp_path, schedules.every(2), metrics=[SMALL_LLC])
    fit(tracker, steps=8, module=Thaws(at_step=99), ckpt_path=tmp_path / "thawed.ckpt")
    assert [step for step, _ in events(tracker.run_id)] == [4, 8]


def test_other_settings_after_a_resume_are_an_event_and_a_warning_and_forget(tmp_path):
    store, checkpoint = tmp_path / "runs", tmp_path / "first.ckpt"
    short = {"num_chains": 2, "num_draws": 8, "num_burnin_steps": 8}

    def go(steps, **settings):
        metrics = [LLC(**short, **settings), Loss()]
        tracker = Tracker(store, schedules.every(2), metrics=metrics)
        start = checkpoint if checkpoint.exists() else None
        return fit(tracker, steps=steps, ckpt_path=start)[0], tracker.run_id

    go(2)[0].save_checkpoint(checkpoint)
    go(4)  # the same settings say nothing: warnings are errors here
    warning = r"'llc' has other settings.*localization 100.0 -> 30.0.*another name=.*resume=False"
    with pytest.warns(TrackerWarning, match=warning):
        trainer, run_id = go(4, localization=30.0)
    opened = open_store(store)
    query = "SELECT step, kind, attrs FROM events WHERE run_id = ? AND kind IN (?, ?) ORDER BY ALL"
    found = opened.sql(query, [run_id, "reconfigured", "calibrated"]).fetchall()
    assert [event[:2] for event in found] == [
        (0, "calibrated"),
        (2, "reconfigured"),
        (4, "calibrated"),
    ]
    attrs = json.loads(found[1][2])
    assert attrs == {"metric": "llc", "from": {"localization": 100}, "to": {"localization": 30}}
    assert "reconfigured" in {event.kind for event in read_config_events(opened, run_id)}

    trainer.save_checkpoint(checkpoint)
    go(6, localization=30.0)  # no change any more
