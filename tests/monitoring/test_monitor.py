import logging
import math
import random
import warnings
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from devtrack import Loss, Row, Status, open_store, schedules
from devtrack.changepoints.online.detector import OnlineDetector
from devtrack.errors import ConfigError
from devtrack.monitoring.actions import (
    Call,
    Controls,
    Densify,
    Log,
    SaveCheckpoint,
    StopTraining,
    Trigger,
)
from devtrack.monitoring.invariants import Invariant
from devtrack.monitoring.monitor import Monitor
from devtrack.records import CONFIG_EVENT_KINDS, NOT_FINITE, Event
from devtrack.tracking._fault_isolation import TrackerWarning
from devtrack.tracking._validation import require_one_process
from devtrack.tracking.lightning_tracker import Tracker
from tests.training import QUIET

CHANGE = 60


class Asked:
    """Stands in for a training: remembers what it was asked for."""

    def __init__(self):
        self.steps, self.saved, self.stopped = [], [], 0
        scheduled_steps = lambda count: [1000 * k for k in range(count + 1)]  # noqa: E731
        self.controls = Controls(
            self.steps.extend, scheduled_steps, self.saved.append, self._stop, Path("run")
        )

    def _stop(self):
        self.stopped += 1


def signal(step):
    """Noise that is the same for the same step, and a jump of twelve standard deviations."""
    noise = float(np.random.default_rng(step).standard_normal())
    return Row("signal", noise + (12.0 if step > CHANGE else 0.0), se=1.0)


def run(monitor, rows=signal, *, steps=range(1, 81)):
    watch, asked, events = monitor.start(), Asked(), []
    for step in steps:
        found = watch.observe(step, [rows(step)], asked.controls)
        events += [(step, event) for event in found]
    return events, asked


def test_an_alarm_is_one_event_in_plain_words_with_its_numbers():
    ((step, event),), _ = run(Monitor(actions=()))
    assert CHANGE < step <= CHANGE + 5
    assert event.kind == "alarm"
    assert event.message == (
        f"signal (up) changed course after step {event.attrs['onset']}; seen at step {step}, "
        "by a rule with 1 false alarm in 1000 snapshots"
    )
    (_, often), *_ = run(Monitor(actions=(), false_alarms_per_1000=10))[0]
    assert often.message.endswith("by a rule with 10 false alarms in 1000 snapshots")
    assert event.attrs["log_evidence"] > event.attrs["threshold"]
    assert CHANGE - 3 <= event.attrs["onset"] < step


def test_metrics_that_are_not_watched_and_numbers_that_are_not_trusted_raise_no_alarm():
    assert run(Monitor(actions=(), metrics=("llc", "probe/*")))[0] == []
    assert run(Monitor(actions=(), metrics="signal"))[0] == run(Monitor(actions=()))[0]
    suspect = lambda s: Row("signal", signal(s).value, 1.0, status=Status.SUSPECT)  # noqa: E731
    assert run(Monitor(actions=()), suspect)[0] == []
    rate = lambda s: Row("lr", signal(s).value, 1.0, site="optimizer")  # noqa: E731
    assert run(Monitor(actions=()), rate)[0] == []


def test_a_violation_is_an_event_when_it_begins_and_again_after_it_has_ended():
    rule = Invariant("signal < 6", stop=True)
    values = {1: 5.0, 2: 7.0, 3: 9.0, 4: 9.0, 5: 5.0, 6: 9.0}
    events, asked = run(
        Monitor(actions=(), invariants=(rule,)),
        lambda step: Row("signal", values[step], se=1.0),
        steps=values,
    )
    assert [step for step, _ in events] == [3, 6]  # 7 ± 1 is not past 6 by two standard errors
    assert asked.stopped == 2
    assert events[0][1].message == "signal is 9 ± 1, must be < 6"
    assert events[0][1].attrs["rule"] == "signal < 6"


@pytest.mark.parametrize("rule", ["signal < 1", "signal > 1"])
@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_a_number_that_is_not_finite_violates_every_rule(rule, value):
    attrs = {"error": f"value is {value}", NOT_FINITE: value}
    events, asked = run(
        Monitor(actions=(), invariants=(Invariant(rule, stop=True),)),
        lambda step: Row("signal", math.nan, status=Status.FAILED, attrs=attrs),
        steps=range(1, 4),
    )
    ((step, event),) = events
    assert (step, event.kind, asked.stopped) == (1, "violation", 1)
    assert (
        event.message == f"signal is not finite ({value}), must be {rule.removeprefix('signal ')}"
    )
    assert str(event.attrs["value"]) == value


@pytest.mark.parametrize(
    ("rows", "rule", "why"),
    [
        (Row("signall", 1.0), "signal < 1", "signal was not measured, but signall was"),
        (Row("loss", 1.0), "signal < 1", "signal was not measured, but loss was"),
        (
            Row("signal", 1.0, site="body.1"),
            "signal@body.2 < 1",
            "signal was not measured at body.2, but body.1 was",
        ),
        (
            Row("signal", math.nan, status=Status.FAILED, attrs={"error": "no data"}),
            "signal < 1",
            "signal failed (no data)",
        ),
    ],
)
def test_an_invariant_that_cannot_be_checked_says_once_why(rows, rule, why):
    monitor = Monitor(invariants=(Invariant(rule, stop=True),))
    events, asked = run(monitor, lambda step: rows, steps=range(1, 4))
    ((step, event),) = events
    assert (step, event.kind, asked.stopped) == (1, "invariant_unchecked", 0)
    assert event.message == f"invariant {rule!r} could not be checked: {why}"


def test_one_site_that_fails_is_told_beside_others_that_hold():
    failed = Row("signal", math.nan, site="a", status=Status.FAILED, attrs={"error": "no data"})
    watch = Monitor(invariants=(Invariant("signal < 1"),)).start()
    found = [watch.observe(step, [failed, Row("signal", 0.5)], Asked().controls) for step in (1, 2)]
    assert [[event.kind for event in events] for events in found] == [["invariant_unchecked"], []]
    assert "signal at a failed" in found[0][0].message


def test_actions_ask_for_what_they_say(caplog):
    called = []
    actions = (Log(), Call(lambda e, s: called.append((e.kind, s))), Densify(factor=2, snapshots=3))
    with caplog.at_level(logging.WARNING, logger="devtrack.monitoring"):
        ((step, event),), asked = run(Monitor(actions=actions), steps=range(2, 161, 2))
    assert called == [("alarm", step)]
    assert asked.steps == [500, 1000, 1500, 2000, 2500, 3000]
    assert caplog.messages[-1] == f"step {step}: {event.message}"


@pytest.mark.parametrize("schedule", [schedules.every(800), schedules.log_spaced(30, last=9000)])
def test_alarms_within_a_dense_spell_prolong_it_and_divide_nothing_again(schedule):
    own = schedules.preview(schedule, total=20_000)
    cursor, densify = schedules.Cursor(schedule, total=9000), Densify(factor=4, snapshots=3)
    controls = Asked().controls._replace(
        observe_at=cursor.add, scheduled_steps=cursor.scheduled_steps
    )
    spell, observed = range(own[5], own[15]), []
    for step in range(20_001):
        if cursor.due(step):
            observed.append(step)
            if step in spell:
                densify(Trigger(Event("alarm"), step), controls)
    divided = {a + round((b - a) * k / 4) for a, b in pairwise(own[5:18]) for k in range(5)}
    assert observed == sorted({*own, *divided})


def test_a_checkpoint_goes_to_the_runs_folder_or_where_it_is_told(tmp_path):
    for folder, home in ((None, tmp_path / "run" / "checkpoints"), (str(tmp_path / "x"),) * 2):
        asked = Asked()
        controls = asked.controls._replace(folder=tmp_path / "run")
        watch = Monitor(actions=(SaveCheckpoint(folder),), invariants=(Invariant("a < 0"),)).start()
        watch.observe(7, [Row("a", 1.0)], controls)
        assert asked.saved == [Path(home) / "violation-step=7.ckpt"]
        assert Path(home).is_dir()


def test_an_action_that_fails_is_an_event_and_the_others_go_on():
    def broken(event, step):
        raise KeyError("no network")

    events, asked = run(Monitor(actions=(Call(broken), StopTraining())))
    assert [event.kind for _, event in events] == ["alarm", "action_failed"]
    assert "action Call at step" in events[1][1].message
    assert "no network" in events[1][1].message
    assert asked.stopped == 1


def test_a_resumed_watch_goes_on_as_if_it_had_never_stopped():
    through, _ = run(Monitor(actions=()))
    watch = Monitor(actions=()).start()
    watch.restore([(step, signal(step)) for step in range(1, 56)])
    events = []
    for step in range(56, 81):
        events += [(step, e) for e in watch.observe(step, [signal(step)], Asked().controls)]
    assert events == through
    again = Monitor(actions=()).start()
    (alarm_step,) = (step for step, _ in through)
    again.restore([(step, signal(step)) for step in range(1, alarm_step + 2)], alarms=[alarm_step])
    for step in range(alarm_step + 2, 81):
        assert again.observe(step, [signal(step)], Asked().controls) == []


def test_what_it_reports_is_no_event():
    assert not {"alarm", "violation"} & set(CONFIG_EVENT_KINDS)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Monitor(actions=(print,)), r"actions holds .*print.*must be.*Call\(function\)"),
        (lambda: Monitor(actions=(Log,)), r"actions holds .*must be instances"),
        (lambda: Monitor(invariants=("a < 1",)), r"invariants holds 'a < 1'.*Write Invariant"),
        (lambda: Monitor(false_alarms_per_1000=0), r"false_alarms_per_1000=0.*Pass"),
        (lambda: Densify(factor=1), r"factor=1: must be an integer of at least 2"),
        (lambda: Densify(snapshots=0), r"snapshots=0: must be"),
        (lambda: Call("print"), r"Call\('print'\): must be a function"),
    ],
)
def test_what_cannot_work_is_refused_at_the_door(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


# Live, through the tracker

X = torch.randn(64, 6, generator=torch.Generator().manual_seed(0))


class Signal:
    name = "signal"

    def compute(self, subject):
        yield signal(subject.step)


class Net(LightningModule):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.3), nn.Linear(8, 1))

    def training_step(self, batch, batch_idx):
        return self.body(batch[0]).square().mean()

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=1e-2)


class Recorder(Callback):
    """Notes everything of a training that an observer could disturb."""

    def __init__(self):
        self.trace = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        streams = (random.getstate(), np.random.get_state()[1].tolist())
        optimizer = [
            v.clone() if isinstance(v, torch.Tensor) else v
            for state in trainer.optimizers[0].state.values()
            for v in state.values()
        ]
        weights = [v.clone() for v in pl_module.state_dict().values()]
        self.trace.append((weights, optimizer, torch.get_rng_state(), streams))


def fit(tracker=None, *, steps=80, ckpt_path=None, module=None, recorder=None):
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)
    callbacks = [callback for callback in (tracker, recorder) if callback]
    trainer = Trainer(max_steps=steps, max_epochs=-1, callbacks=callbacks, **QUIET)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        module = module or Net()
        loader = DataLoader(TensorDataset(X), batch_size=16, shuffle=True)
        trainer.fit(module, loader, ckpt_path=ckpt_path)
    return trainer, module


def track(store, monitor, schedule=None, **options):
    schedule = schedules.every(1) if schedule is None else schedule
    options = {"metrics": [Signal()], "snapshots": False} | options
    return Tracker(store, schedule, monitor=monitor, **options)


@lru_cache(maxsize=4)
def store_at(store):
    """Open a store once for all that a test asks of it; what is written later is seen as well."""
    return open_store(store)


def events_of(store, kind):
    query = "SELECT step, message FROM events WHERE kind = ? ORDER BY step"
    return store_at(store).sql(query, [kind]).fetchall()


def _equal(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(_equal(x, y) for x, y in zip(a, b, strict=True))
    return a == b


def test_training_is_bitwise_the_same_with_a_monitor_that_does_not_stop_it(tmp_path):
    def draws(event, step):
        random.random()
        np.random.rand(3)
        torch.rand(3)

    actions = (Log(), Call(draws), Densify(), SaveCheckpoint())
    rule = Invariant("signal < 3")
    monitor = Monitor(actions=actions, invariants=(rule,))
    without, watched = Recorder(), Recorder()
    fit(recorder=without)
    tracker = track(tmp_path, monitor, schedules.every(2), metrics=[Signal(), Loss()])
    fit(tracker, recorder=watched)
    assert len(without.trace) == len(watched.trace) == 80
    for step, pair in enumerate(zip(without.trace, watched.trace, strict=True)):
        assert _equal(*pair), f"differs after step {step + 1}"
    assert events_of(tmp_path, "alarm")
    assert events_of(tmp_path, "violation")
    assert list((tmp_path / str(tracker.run_id) / "checkpoints").glob("alarm-step=*.ckpt"))


def test_a_watch_that_fails_on_an_event_does_not_stop_the_training(tmp_path, monkeypatch):
    def refuse(self, event):
        raise RuntimeError("no room")

    monkeypatch.setattr(
        "devtrack.tracking._lightning_loop.LightningLoop.momenta", lambda loop: [0.9]
    )
    monkeypatch.setattr(OnlineDetector, "add_event", refuse)
    with pytest.warns(TrackerWarning, match="no room"):
        trainer, _ = fit(track(tmp_path, Monitor()))
    assert trainer.global_step == 80


def test_a_denser_schedule_follows_the_alarm(tmp_path):
    fit(track(tmp_path, Monitor(actions=(Densify(factor=2, snapshots=5),)), schedules.every(4)))
    ((alarm, _),) = events_of(tmp_path, "alarm")
    rows = store_at(tmp_path).sql("SELECT step FROM metrics WHERE metric = 'signal' ORDER BY 1")
    steps = [step for (step,) in rows.fetchall()]
    assert [s for s in steps if s <= alarm] == list(range(0, alarm + 1, 4))
    assert [s for s in steps if s > alarm] == sorted({*range(alarm + 2, 81, 2)})[: len(steps)]


def test_a_violated_invariant_stops_the_training(tmp_path):
    trainer, _ = fit(track(tmp_path, Monitor(invariants=(Invariant("signal < 6", stop=True),))))
    assert CHANGE < trainer.global_step <= CHANGE + 2
    ((step, message),) = events_of(tmp_path, "violation")
    assert step == trainer.global_step
    assert message.endswith("must be < 6")


class Explodes:
    """Infinite from step 3 on."""

    name = "signal"

    def compute(self, subject):
        yield Row("signal", math.inf if subject.step > 2 else 0.0)


def test_a_training_that_diverges_is_stopped(tmp_path):
    rule = Invariant("signal < 6", stop=True)
    with pytest.warns(TrackerWarning, match="'signal' failed at step 3: value is inf"):
        tracker = track(tmp_path, Monitor(invariants=(rule,)), metrics=[Explodes()], num_samples=1)
        trainer, _ = fit(tracker)
    assert trainer.global_step == 3
    assert events_of(tmp_path, "violation") == [(3, "signal is not finite (inf), must be < 6")]


def test_a_rule_with_a_mistyped_metric_is_warned_about_once(tmp_path):
    monitor = Monitor(invariants=(Invariant("sginal < 6", stop=True),))
    with pytest.warns(TrackerWarning, match="'sginal < 6' could not be checked.*signal") as caught:
        trainer, _ = fit(track(tmp_path, monitor), steps=6)
    assert len([w for w in caught if w.category is TrackerWarning]) == 1
    assert trainer.global_step == 6
    assert [step for step, _ in events_of(tmp_path, "invariant_unchecked")] == [0]


def test_a_failing_action_is_a_warning_and_an_event_and_training_goes_on(tmp_path):
    def broken(event, step):
        raise OSError("no network")

    with pytest.warns(TrackerWarning, match="action Call at step .*no network.*Training continues"):
        trainer, _ = fit(track(tmp_path, Monitor(actions=(Call(broken),))))
    assert trainer.global_step == 80
    assert len(events_of(tmp_path, "action_failed")) == 1


def test_a_broken_detector_leaves_the_invariants_at_work(tmp_path, monkeypatch):
    def broken(*args, **kwargs):
        raise FloatingPointError("singular")

    monkeypatch.setattr("devtrack.changepoints.online.detector.log_bayes_factor", broken)
    monitor = Monitor(invariants=(Invariant("signal < 6", stop=True),))
    with pytest.warns(TrackerWarning, match="detection of changes failed.*singular") as caught:
        trainer, _ = fit(track(tmp_path, monitor))
    assert len([w for w in caught if w.category is TrackerWarning]) == 1
    assert trainer.global_step <= CHANGE + 2


def test_a_resumed_training_keeps_its_watch(tmp_path):
    trainer, _ = fit(track(tmp_path / "a", Monitor(actions=())))
    ((alarm, _),) = events_of(tmp_path / "a", "alarm")
    trainer, _ = fit(track(tmp_path / "b", Monitor(actions=())), steps=58)
    trainer.save_checkpoint(tmp_path / "b.ckpt")
    fit(track(tmp_path / "b", Monitor(actions=())), ckpt_path=tmp_path / "b.ckpt")
    assert [step for step, _ in events_of(tmp_path / "b", "alarm")] == [alarm]


class Drops(Net):
    """Its learning rate falls to a tenth at step 40."""

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 40, gamma=0.1)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }


class Annealed:
    """A decay with a quick fall from step 40 on, as a smaller learning rate leaves it."""

    name = "signal"

    def compute(self, subject):
        step = subject.step
        fall = 0.3 * (1 - math.exp(-(step - 40) / 4)) if step > 40 else 0.0
        noise = 0.01 * float(np.random.default_rng(step).standard_normal())
        yield Row("signal", 1 + math.exp(-step / 50) - fall + noise, se=0.01)


def test_a_resumed_training_remembers_its_events(tmp_path):
    def tracker():
        return track(tmp_path / "runs", Monitor(actions=()), metrics=[Annealed()])

    trainer, _ = fit(tracker(), steps=46, module=Drops())
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    fit(tracker(), steps=60, module=Drops(), ckpt_path=tmp_path / "a.ckpt")
    assert [step for step, _ in events_of(tmp_path / "runs", "lr_change")] == [40]
    assert events_of(tmp_path / "runs", "alarm") == []


class Partly:
    """Violates a rule from step 3 on, fails at one site, and recovers where it is told to."""

    name = "signal"

    def __init__(self, recovers=range(0)):
        self.recovers = recovers

    def compute(self, subject):
        yield Row("signal", 9.0 if subject.step > 2 and subject.step not in self.recovers else 0.0)
        yield Row("signal", math.nan, site="a", status=Status.FAILED, attrs={"error": "no data"})
        yield Row("ratio", math.nan, status=Status.FAILED, attrs={NOT_FINITE: "inf", "error": "x"})


RULES = ("signal < 6", "ratio < 1", "nosuch < 1")


@pytest.mark.filterwarnings("ignore::devtrack.tracking._fault_isolation.TrackerWarning")
@pytest.mark.parametrize("recovers", [range(5, 7), range(7, 9)])
def test_what_lasts_over_a_resume_is_said_and_acted_on_once(tmp_path, recovers):
    said = {}
    for cut in (8, 4):
        acted, store = [], tmp_path / str(cut)

        def go(**options):
            monitor = Monitor(
                actions=(Call(lambda e, s: acted.append((s, e.attrs["rule"]))),),  # noqa: B023
                invariants=[Invariant(rule) for rule in RULES],
            )
            metrics = [Partly(recovers)]
            return fit(track(store, monitor, metrics=metrics, name="r"), **options)[0]  # noqa: B023

        go(steps=cut).save_checkpoint(tmp_path / f"{cut}.ckpt")
        go(steps=12, ckpt_path=tmp_path / f"{cut}.ckpt")
        said[cut] = acted, [events_of(store, k) for k in ("violation", "invariant_unchecked")]
    assert said[4] == said[8], "wherever the training was cut"
    acted, (violations, unchecked) = said[8]
    assert acted == [(0, "ratio < 1"), (3, "signal < 6"), (recovers.stop, "signal < 6")]
    assert [step for step, _ in violations] == [step for step, _ in acted]
    assert [step for step, _ in unchecked] == [0, 0]


@pytest.mark.filterwarnings("ignore::devtrack.tracking._fault_isolation.TrackerWarning")
def test_a_resume_gets_round_no_rule_that_stops_and_hides_no_new_one(tmp_path):
    def go(*rules, **options):
        monitor = Monitor(actions=(), invariants=rules)
        return fit(track(tmp_path / "runs", monitor, metrics=[Partly()]), **options)[0]

    go(Invariant("signal < 6"), steps=5).save_checkpoint(tmp_path / "a.ckpt")
    rules = (Invariant("signal < 6", stop=True), Invariant("signal < 5"))
    assert go(*rules, ckpt_path=tmp_path / "a.ckpt").global_step == 6
    at_six = [said for step, said in events_of(tmp_path / "runs", "violation") if step == 6]
    assert sorted(at_six) == ["signal is 9, must be < 5", "signal is 9, must be < 6"]


def test_several_processes_are_refused_before_training():
    require_one_process(None, 2)
    require_one_process(Monitor(), 1)
    with pytest.raises(ConfigError, match="monitor= on 2 processes: must be one.*Leave monitor"):
        require_one_process(Monitor(), 2)
