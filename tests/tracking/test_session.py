"""A session beside a plain loop: no Lightning, no Trainer."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from devtrack import Loss, Monitor, WeightNorm, open_store, schedules
from devtrack.errors import ConfigError
from devtrack.monitoring.actions import StopTraining
from devtrack.monitoring.invariants import Invariant
from devtrack.tracking._settings import Settings
from devtrack.tracking.session import Session
from devtrack.tracking.training_loop import TrainingLoop

NUM_STEPS = 12


def mean_square(model, batch):
    x, y = batch
    return (model(x) - y).square().mean()


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))


def batches():
    generator = torch.Generator().manual_seed(1)
    draw = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
    return [(draw(8, 3), draw(8, 1)) for _ in range(NUM_STEPS)]


def settings(folder, **options):
    given = {
        "store": folder,
        "schedule": schedules.every(4),
        "metrics": [Loss(), WeightNorm()],
        "name": "plain",
        "resume": True,
        "data": None,
        "loss": mean_square,
        "num_samples": 16,
        "max_data_gb": 1.0,
        "data_on_cpu": False,
        "snapshots": True,
        "use_loggers": False,
        "max_overhead": None,
        "monitor": None,
        "seed": 0,
    }
    return Settings(**given | options)


def train(model, folder=None, *, origin=None, start=0, stop=NUM_STEPS, loop=None, **options):
    """Train by hand, observed if there is a folder; return what a checkpoint would hold."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    session = None
    if folder is not None:
        loop = (loop or TrainingLoop)(model, optimizers=[optimizer], total_steps=NUM_STEPS)
        loop.advance(step=start)
        session = Session(settings(folder, **options), loop, origin=origin, say=lambda text: None)
    for index, batch in enumerate(batches()[start:stop], start=start):
        if session is not None:
            session.before_step((batch, index))
        loss = mean_square(model, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if session is not None:
            session.after_step(loss.detach())
            loop.advance(step=index + 1)
            session.after_batch(batch, index)
            if getattr(loop, "is_stopped", False):
                break
    if session is None:
        return None
    session.finish()
    state = session.state()
    session.close()
    return state


def series(folder, metric):
    query = "SELECT step, value FROM metrics WHERE metric = ? ORDER BY step"
    return open_store(folder).sql(query, [metric]).fetchall()


def test_a_plain_loop_is_observed_and_not_changed(tmp_path):
    alone, observed = network(), network()
    train(alone)
    train(observed, tmp_path / "runs")
    for one, other in zip(alone.parameters(), observed.parameters(), strict=True):
        assert torch.equal(one, other)
    store = open_store(tmp_path / "runs")
    rows = store.sql("SELECT step, metric, status FROM metrics ORDER BY ALL").fetchall()
    steps = (0, 4, 8, 12)
    assert rows == [(s, m, "ok") for s in steps for m in ("loss", "lr", "weight_norm")]
    kinds = [kind for (kind,) in store.sql("SELECT kind FROM events ORDER BY step").fetchall()]
    assert kinds == ["optimizer_start", "cost"]


def test_the_stored_numbers_are_those_of_the_loop(tmp_path):
    model = network()
    kept = batches()[:2]  # 16 samples
    with torch.no_grad():
        first = float(torch.stack([mean_square(model, batch) for batch in kept]).mean())
    train(model, tmp_path / "runs")
    with torch.no_grad():
        last = float(torch.stack([mean_square(model, batch) for batch in kept]).mean())
    found = dict(series(tmp_path / "runs", "loss"))
    assert (found[0], found[12]) == pytest.approx((first, last), rel=1e-6)
    norm = float(torch.cat([p.detach().flatten() for p in model.parameters()]).norm())
    assert dict(series(tmp_path / "runs", "weight_norm"))[12] == pytest.approx(norm, rel=1e-6)


def test_it_resumes_from_its_state(tmp_path):
    model = network()
    state = train(model, tmp_path / "runs", stop=6)
    train(model, tmp_path / "runs", origin=state, start=6)
    store = open_store(tmp_path / "runs")
    assert [(run.name, step) for run, step in zip(store.runs(), [12], strict=True)] == [
        ("plain", 12)
    ]
    assert [step for step, _ in series(tmp_path / "runs", "loss")] == [0, 4, 6, 8, 12]
    assert store.sql("SELECT step FROM events WHERE kind = 'resume'").fetchall() == [(6,)]


class Stoppable(TrainingLoop):
    is_stopped = False

    def stop(self):
        self.is_stopped = True


def test_a_monitor_acts_on_a_loop_that_can_be_stopped(tmp_path):
    monitor = Monitor(actions=[], invariants=[Invariant("loss > 100", stop=True)])
    train(network(), tmp_path / "runs", monitor=monitor, loop=Stoppable)
    # step 0 is measured when the evaluation set has its two batches, and violates the rule
    assert [step for step, _ in series(tmp_path / "runs", "loss")] == [0, 2]


def test_an_action_that_a_loop_cannot_do_is_an_event(tmp_path):
    monitor = Monitor(actions=[StopTraining()], invariants=[Invariant("loss > 100")])
    with pytest.warns(UserWarning, match="StopTraining in a TrainingLoop: this loop cannot do it"):
        train(network(), tmp_path / "runs", monitor=monitor)
    query = "SELECT message FROM events WHERE kind = 'action_failed'"
    ((message,), *_) = open_store(tmp_path / "runs").sql(query).fetchall()
    assert "Override stop, or leave the action out" in message


def test_a_loss_that_trains_the_live_module_is_refused_before_the_first_step(tmp_path):
    model = network()
    with pytest.raises(ConfigError, match="private copy|live"):
        train(model, tmp_path / "runs", loss=lambda copy, batch: mean_square(model, batch))


def test_a_session_does_not_need_lightning():
    code = "import sys, devtrack.tracking.session; print('lightning' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.stdout.strip() == "False", answer.stderr
