"""From the store to transitions and back: what is read, what is written, what reproduces it."""

import json
import shutil
from datetime import datetime
from importlib import resources

import numpy as np
import pytest

from devtrack.changepoints.offline.detector import detect
from devtrack.errors import ConfigError, UnknownRunError
from devtrack.records import CONFIG_EVENT_KINDS, Event, Row, RunInfo, Status, TrainingProgress
from devtrack.store import StoreWarning, open_store
from devtrack.store._schema import detector
from devtrack.store.readers import read_config_events, read_series, series_query
from devtrack.transitions.detection import (
    STANDARD,
    find_transitions,
    is_current,
)

pytestmark = pytest.mark.usefixtures("detects_once")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A run with a planted rise of 20 se at step 400, and some rows that must not be read."""
    opened = open_store(tmp_path_factory.mktemp("store") / "runs", create=True)
    rng = np.random.default_rng(0)
    with opened.writer(RunInfo("r1", "it's", datetime(2026, 1, 1))) as writer:
        for step in np.unique(np.geomspace(1, 10_000, 90).astype(int)):
            rise = 1 / (1 + np.exp(-8 * np.log(step / 400)))
            value = 2.0 * rise + 0.1 * rng.standard_normal()
            rows = [
                Row("llc", value, 0.1, site="model"),
                Row("llc", 1e6, 0.1, site="model", status=Status.SUSPECT),
                Row("loss", 3.0 - value / 2, 0.05, site="it's"),
                Row("broken", float("nan"), status=Status.FAILED),
            ]
            writer.append(TrainingProgress(int(step)), rows)
        writer.append(TrainingProgress(0), [Event("optimizer_start", attrs={"momentum": 0.9})])
        writer.append(TrainingProgress(77), [Event("lr_change"), Event("alert")])
        writer.flush()
    return opened


def test_only_rows_of_status_ok_are_read(store):
    series = read_series(store, "r1")
    assert [(s.metric, s.site) for s in series] == [("llc", "model"), ("loss", "it's")]
    assert series[0].value.max() < 3


def test_globs_choose_metrics_and_sites(store):
    assert [s.metric for s in read_series(store, "r1", metrics=["l?c"])] == ["llc"]
    assert [s.metric for s in read_series(store, "r1", sites=["it*"])] == ["loss"]
    with pytest.raises(ConfigError, match=r"matches nothing in run .r1.*llc, loss"):
        read_series(store, "r1", metrics=["probe/*"])
    with pytest.raises(UnknownRunError):
        read_series(store, "r2")


def test_only_events_of_the_configuration_are_read(store):
    assert read_config_events(store, "r1") == [
        (0.0, "optimizer_start", 0.9),
        (77.0, "lr_change", 0.0),
    ]


def test_a_planted_rise_is_found_written_and_reproduced_by_its_query(store):
    found = find_transitions(store, "r1")
    assert [t.kind for t in found] == ["step"]
    rows = store.sql("FROM transitions ORDER BY metric").df()
    assert list(rows.metric) == ["llc", "loss"]
    assert list(rows.direction) == ["up", "down"]
    assert not rows.stale.any()
    assert (rows.midpoint == found[0].midpoint).all()
    assert (rows.midpoint_low < 400).all() and (rows.midpoint_high > 400).all()
    assert rows["event"].isna().all()
    for row, series in zip(rows.itertuples(), read_series(store, "r1")):
        again = store.sql(str(row.query)).df()
        np.testing.assert_array_equal(again.value, series.value)
        np.testing.assert_array_equal(again.step, series.step)


def test_a_second_analysis_replaces_the_first_and_one_unsaved_leaves_it(store):
    find_transitions(store, "r1")
    find_transitions(store, "r1", metrics=["loss"])
    assert store.sql("SELECT DISTINCT metric FROM transitions").fetchall() == [("loss",)]
    find_transitions(store, "r1", save=False)
    assert store.sql("SELECT DISTINCT metric FROM transitions").fetchall() == [("loss",)]


def test_new_rows_make_the_analysis_stale(tmp_path):
    opened = open_store(tmp_path / "runs", create=True)
    with opened.writer(RunInfo("r1", "r1", datetime(2026, 1, 1))) as writer:
        for step in range(1, 61):
            writer.append(
                TrainingProgress(step), [Row("loss", float(step > 30) + 0.01 * (step % 3), 0.01)]
            )
        writer.flush()
        assert len(find_transitions(opened, "r1")) == 1
        assert opened.sql("SELECT bool_or(stale) FROM transitions").fetchall() == [(False,)]
        writer.append(TrainingProgress(61), [Row("loss", 1.0, 0.01)])
        writer.flush()
        assert opened.sql("SELECT bool_and(stale) FROM transitions").fetchall() == [(True,)]


@pytest.mark.parametrize("kind", CONFIG_EVENT_KINDS)
def test_a_event_makes_the_analysis_stale(tmp_path, monkeypatch, kind):
    nothing = lambda *_, **__: []  # noqa: E731  what is found does not matter here
    monkeypatch.setattr("devtrack.changepoints.offline.detector.detect", nothing)
    opened = open_store(tmp_path / "runs", create=True)
    with opened.writer(RunInfo("r1", "r1", datetime(2026, 1, 1))) as writer:
        for step in range(1, 61):
            writer.append(
                TrainingProgress(step), [Row("loss", float(step > 30) + 0.01 * (step % 3), 0.01)]
            )
        writer.append(TrainingProgress(20), [Event(kind)])
        writer.flush()
        find_transitions(opened, "r1")
        assert is_current(opened, "r1")
        writer.append(TrainingProgress(60), [Event("cost"), Event("alarm"), Event("interrupted")])
        writer.flush()
        assert is_current(opened, "r1"), "the detector reads none of these"
        writer.append(TrainingProgress(30), [Event(kind)])
        writer.flush()
        assert not is_current(opened, "r1")
        find_transitions(opened, "r1")
        assert is_current(opened, "r1")


def test_rows_that_come_while_the_detector_works_make_the_analysis_stale(tmp_path, monkeypatch):
    opened = open_store(tmp_path / "runs", create=True)
    writer = opened.writer(RunInfo("r1", "r1", datetime(2026, 1, 1)))
    for step in range(1, 61):
        writer.append(
            TrainingProgress(step), [Row("loss", float(step > 30) + 0.01 * (step % 3), 0.01)]
        )
    writer.flush()

    steps = iter([61, 61])  # a later one, and the last one again by a second metric

    def slow(series, **options):
        writer.append(TrainingProgress(next(steps)), [Row("late", 1.0)])
        writer.flush()
        return detect(series, **options)

    monkeypatch.setattr("devtrack.changepoints.offline.detector.detect", slow)
    for _ in range(2):
        assert len(find_transitions(opened, "r1")) == 1
        assert opened.sql("SELECT DISTINCT stale FROM transitions").fetchall() == [(True,)]
    monkeypatch.undo()
    find_transitions(opened, "r1")
    assert opened.sql("SELECT DISTINCT stale FROM transitions").fetchall() == [(False,)]
    writer.close()


@pytest.mark.parametrize(
    "options", [{"alpha": 0.2}, {"axis": "linear"}, {"metrics": ["loss"]}, {"sites": ["model"]}]
)
def test_an_analysis_of_a_part_or_at_another_rate_is_no_standard_one(tmp_path, options):
    opened = open_store(tmp_path / "runs", create=True)
    with opened.writer(RunInfo("r1", "r1", datetime(2026, 1, 1))) as writer:
        for step in range(1, 61):
            writer.append(
                TrainingProgress(step), [Row("loss", float(step > 30) + 0.01 * (step % 3), 0.01)]
            )
    assert not is_current(opened, "r1")
    find_transitions(opened, "r1", **options)
    assert is_current(opened, "r1")
    assert not is_current(opened, "r1", standard=True)
    (shown,) = opened.sql("SELECT DISTINCT settings FROM transitions").fetchall()[0]
    assert json.loads(shown) == {**STANDARD, **options}
    find_transitions(opened, "r1")
    assert is_current(opened, "r1", standard=True)


def test_an_analysis_that_found_nothing_is_current(tmp_path):
    opened = open_store(tmp_path / "runs", create=True)
    with opened.writer(RunInfo("r1", "r1", datetime(2026, 1, 1))) as writer:
        for step in range(1, 61):
            writer.append(TrainingProgress(step), [Row("loss", 0.01 * (step % 3), 0.01)])
        writer.flush()
        assert find_transitions(opened, "r1") == []
        assert is_current(opened, "r1", standard=True)
        writer.append(TrainingProgress(61), [Row("loss", 0.0, 0.01)])
        writer.flush()
        assert not is_current(opened, "r1")


def test_a_series_that_cannot_be_one_is_left_out_and_named(tmp_path):
    opened = open_store(tmp_path / "runs", create=True)
    with opened.writer(RunInfo("r1", "r1", datetime(2026, 1, 1))) as writer:
        for step in range(1, 61):
            rise = Row("loss", float(step > 30) + 0.01 * (step % 3), 0.01)
            writer.append(TrainingProgress(step), [rise, Row("bad", 1.0, -0.1)])
    with pytest.warns(StoreWarning, match=r"bad@model: standard error -0\.1.*left out"):
        (found,) = find_transitions(opened, "r1")
    assert [move.metric for move in found.moves] == ["loss"]


def test_another_detectors_analysis_is_stale(tmp_path, monkeypatch):
    opened = open_store(tmp_path / "runs", create=True)
    with opened.writer(RunInfo("r1", "r1", datetime(2026, 1, 1))) as writer:
        for step in range(1, 61):
            writer.append(
                TrainingProgress(step), [Row("loss", float(step > 30) + 0.01 * (step % 3), 0.01)]
            )
    monkeypatch.setattr("devtrack.store._transition_table.detector", lambda: "an older one")
    assert len(find_transitions(opened, "r1")) == 1
    shown = "SELECT DISTINCT detector, stale FROM transitions"
    assert opened.sql(shown).fetchall() == [("an older one", True)]
    assert not is_current(opened, "r1")
    monkeypatch.undo()
    find_transitions(opened, "r1")
    assert opened.sql(shown).fetchall() == [(detector(), False)]
    assert is_current(opened, "r1")


def test_the_detectors_identity_follows_its_sources(tmp_path, monkeypatch):
    copy = tmp_path / "changepoints"
    shutil.copytree(str(resources.files("devtrack").joinpath("changepoints")), copy)
    monkeypatch.setattr("devtrack.store._schema.resources.files", lambda _: tmp_path)
    assert detector.__wrapped__() == detector()
    (copy / "offline" / "detector.py").write_text("SEED = 1")
    assert detector.__wrapped__() != detector()


def test_a_run_without_rows_has_no_transitions(tmp_path):
    opened = open_store(tmp_path / "runs", create=True)
    opened.writer(RunInfo("r1", "r1", datetime(2026, 1, 1))).close()
    assert read_series(opened, "r1") == []
    assert find_transitions(opened, "r1") == []


def test_quotes_in_names_are_escaped():
    assert "site = 'a''b'" in series_query("r", "m", "a'b")
