from collections.abc import Callable

import pytest

from devtrack.errors import ConfigError, UnknownRunError
from devtrack.records import Row, RunInfo, TrainingProgress
from devtrack.store import Store

Info = Callable[..., RunInfo]
_ROW = {
    "transition": 0,
    "kind": "step",
    "onset": 1,
    "midpoint": 1.5,
    "end_step": 2,
    "metric": "loss",
    "site": "model",
    "direction": "down",
    "effect": -2.0,
    "effect_se": float("nan"),
    "event": None,
    "query": "SELECT 'it''s'",
}


def test_the_newest_analysis_is_shown_and_grows_stale(store: Store, info: Info) -> None:
    writer = store.writer(info(name="grok"))
    writer.append(TrainingProgress(5), [Row("loss", 1.0)])
    writer.flush()
    store.write_transitions("r1", [{**_ROW, "kind": "old"}])
    store.write_transitions("r1", [_ROW, {**_ROW, "transition": 1, "midpoint": 9.0}])
    shown = "SELECT run, transition, kind, midpoint, effect_se, query, through_step, stale "
    assert store.sql(shown + "FROM transitions").fetchall() == [
        ("grok", 0, "step", 1.5, None, "SELECT 'it''s'", 5, False),
        ("grok", 1, "step", 9.0, None, "SELECT 'it''s'", 5, False),
    ]
    writer.append(TrainingProgress(6), [Row("loss", 1.0)])
    writer.close()
    assert store.sql("SELECT DISTINCT stale FROM transitions").fetchall() == [(True,)]
    store.write_transitions("r1", [_ROW], through_step=6)
    assert store.sql("SELECT DISTINCT stale FROM transitions").fetchall() == [(False,)]
    store.writer(info(), keep_through_step=5).close()  # rewound: it rests on rows that are gone
    assert store.sql("SELECT DISTINCT stale FROM transitions").fetchall() == [(True,)]


def test_an_analysis_that_found_nothing_replaces_one_that_did(store: Store, info: Info) -> None:
    store.writer(info("r1")).close()
    store.writer(info("r2")).close()
    store.write_transitions("r1", [_ROW])
    store.write_transitions("r2", [_ROW])
    for _ in range(4):
        store.write_transitions("r1", [])
    assert store.sql("SELECT run_id FROM transitions").fetchall() == [("r2",)]
    assert len(list((store.path / "r1" / "segments" / "transitions").iterdir())) == 2


def test_a_wrong_row_writes_nothing(store: Store, info: Info) -> None:
    store.writer(info()).close()
    with pytest.raises(ConfigError, match=r"unknown columns \['size'\]; allowed are transition"):
        store.write_transitions("r1", [{**_ROW, "size": 1}])
    with pytest.raises(ConfigError, match="transition is missing"):
        store.write_transitions("r1", [{"kind": "step"}])
    with pytest.raises(UnknownRunError):
        store.write_transitions("r7", [_ROW])
    assert store.sql("FROM transitions").fetchall() == []
