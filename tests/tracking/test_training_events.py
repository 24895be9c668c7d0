import math

from devtrack.records import CONFIG_EVENT_KINDS
from devtrack.tracking._training_events import (
    LearningRateWatch,
    evalset_change,
    optimizer_start,
    parameters_changed,
    reconfigured,
)


def _events(rates):
    watch = LearningRateWatch()
    return [(step, e.kind) for step, rate in enumerate(rates) for e in watch.update([rate])]


def test_a_constant_rate_is_no_event():
    assert _events([1e-3] * 50) == []


def test_a_drop_is_an_event_at_its_step():
    assert _events([1e-3] * 10 + [1e-4] * 10) == [(10, "lr_change")]


def test_a_warmup_ends_once():
    warmup = [1e-3 * (i + 1) / 20 for i in range(20)]
    cosine = [0.5e-3 * (1 + math.cos(math.pi * i / 200)) for i in range(1, 200)]
    assert _events(warmup + cosine) == [(20, "warmup_end")]
    assert _events(warmup + [1e-3] * 30) == [(20, "warmup_end")]


def test_smooth_decay_is_no_event():
    assert _events([1e-3 * 0.99**i for i in range(500)]) == []
    assert _events([1e-3 * (1 - i / 50) for i in range(51)]) == []


def test_groups_are_told_apart():
    watch = LearningRateWatch()
    watch.update([1.0, 1.0])
    events = watch.update([1.0, 0.1])
    assert [(e.kind, e.attrs["group"], e.attrs["to"]) for e in events] == [("lr_change", 1, 0.1)]


def test_a_group_without_a_rate_has_no_events_and_hides_no_others():
    assert _events([math.nan] * 30) == []
    watch = LearningRateWatch()
    rises = [[math.nan, 0.1 * (step + 1)] for step in range(10)]
    assert [e.kind for rates in rises for e in watch.update(rates)] == []
    assert [e.kind for e in watch.update([math.nan, 1.0])] == ["warmup_end"]
    (drop,) = watch.update([math.nan, 0.1])
    assert (drop.kind, drop.attrs["group"]) == ("lr_change", 1)


def test_an_optimizer_with_momentum_starts_from_rest():
    (event,) = optimizer_start([0.0, 0.9])
    assert (event.kind, event.attrs) == ("optimizer_start", {"momentum": 0.9})
    assert optimizer_start([0.0]) == optimizer_start([]) == []


def test_only_other_data_than_known_ones_are_an_event():
    assert evalset_change(None, "a") == evalset_change("a", "a") == []
    (event,) = evalset_change("a", "b")
    assert event.kind in CONFIG_EVENT_KINDS
    assert event.attrs == {"from": "a", "to": "b"}


def test_only_other_parameters_than_known_ones_are_an_event():
    assert parameters_changed(None, ["a"]) == parameters_changed(["a", "b"], ["b", "a"]) == []
    (event,) = parameters_changed(["a", "b"], ["b", "c", "d"])
    assert event.kind in CONFIG_EVENT_KINDS
    assert "2 thawed and 1 frozen" in event.message
    assert (event.attrs["thawed"], event.attrs["frozen"]) == (["c", "d"], ["a"])


def test_only_settings_that_can_be_compared_are_an_event():
    assert reconfigured("llc", None, {"class": "LLC", "lr": 1.0}) == []
    assert reconfigured("llc", {"class": "LLC", "lr": 1.0}, {"class": "LLC", "lr": 1.0}) == []
    assert reconfigured("llc", {"class": "LLC", "old": 1}, {"class": "LLC", "new": 2}) == []
    (event,) = reconfigured("llc", {"class": "LLC", "lr": 1.0}, {"class": "LLC", "lr": 2.0})
    assert event.kind in CONFIG_EVENT_KINDS
    assert event.message == "metric 'llc' has other settings from here on: lr 1.0 -> 2.0"
    assert event.attrs == {"metric": "llc", "from": {"lr": 1.0}, "to": {"lr": 2.0}}
    (event,) = reconfigured("mine", "Mine", {"class": "Other", "k": 1})
    assert event.attrs["from"] == {"class": "Mine"}
