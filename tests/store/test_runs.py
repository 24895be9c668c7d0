from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import pytest

from devtrack.errors import ConfigError, UnknownRunError
from devtrack.records import RunInfo
from devtrack.store import Store, StoreWarning
from devtrack.store._runs import read_run, write_run

Info = Callable[..., RunInfo]


def test_run_json_comes_back_and_is_written_once(store: Store) -> None:
    info = RunInfo(
        "r1", "grok", datetime(2026, 1, 2, 3, 4, 5, 6), {"lr": 0.1}, {"torch": "2"}, "r0", 7
    )
    path = write_run(store.path, info) / "run.json"
    assert read_run(path) == info
    write_run(store.path, RunInfo("r1", "other", datetime(2027, 1, 1)))
    assert read_run(path) == info


def test_a_new_run_does_not_enter_a_run_of_the_same_id(store: Store) -> None:
    first, second = (RunInfo("r1", "my run", datetime(2026, 1, day)) for day in (1, 2))
    assert store.create_run(first) == first
    created = store.create_run(second)
    assert created.run_id.startswith("my-run-20260102-000000-")
    assert store.runs() == [first, created]
    assert store.writer(created).attempt == 0


def test_a_time_with_a_zone_is_stored_as_utc(store: Store) -> None:
    zone = timezone(timedelta(hours=2))
    run_dir = write_run(store.path, RunInfo("r1", "r1", datetime(2026, 1, 1, 12, tzinfo=zone)))
    assert read_run(run_dir / "run.json").created_utc == datetime(2026, 1, 1, 10)
    assert datetime(2026, 1, 1, 12, tzinfo=zone).astimezone(UTC).hour == 10


def test_a_run_is_found_by_id_by_unique_name_or_as_the_newest(store: Store, info: Info) -> None:
    for run_id, name, day in (("a1", "grok", 1), ("b2", "icl", 3), ("a3", "grok", 2)):
        write_run(store.path, info(run_id, name, day))
    assert [run.run_id for run in store.runs()] == ["a1", "a3", "b2"]
    assert store.run().run_id == "b2"
    assert store.run("a1").run_id == "a1"
    assert store.run("icl").run_id == "b2"
    with pytest.raises(UnknownRunError, match=r"2 runs bear this name\. Pass one .*: a3, a1\."):
        store.run("grok")
    with pytest.raises(UnknownRunError, match=r"'gork': not in .* b2, a3, a1.*mean 'grok'\?"):
        store.run("gork")


def test_an_empty_store_has_no_run(store: Store) -> None:
    with pytest.raises(UnknownRunError, match="holds no run yet"):
        store.run()


def test_a_damaged_run_json_is_warned_about_and_the_others_stay(store: Store, info: Info) -> None:
    write_run(store.path, info("good"))
    (write_run(store.path, info("bad")) / "run.json").write_text('{"run_id": "bad", "na')
    with pytest.warns(StoreWarning, match=r"bad/run\.json: cannot be read"):
        assert [run.run_id for run in store.runs()] == ["good"]
    assert store.sql("SELECT run_id FROM runs").fetchall() == [("good",)]


def test_a_run_id_that_is_no_folder_name_is_refused(store: Store, info: Info) -> None:
    with pytest.raises(ConfigError, match="must be a folder name"):
        store.writer(info("../elsewhere"))
    assert not (store.path.parent / "elsewhere").exists()
