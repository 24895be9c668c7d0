import json
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from devtrack.errors import ConfigError, QueryError
from devtrack.records import Row, RunInfo, TrainingProgress
from devtrack.store import Store

Info = Callable[..., RunInfo]


@pytest.fixture
def filled(store: Store, info: Info) -> Store:
    with store.writer(info()) as writer:
        for step in range(3):
            writer.append(TrainingProgress(step), [Row("a", float(step), attrs={"k": step})])
    return store


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".json"])
def test_what_is_exported_comes_back(filled: Store, tmp_path: Path, suffix: str) -> None:
    target = filled.export(tmp_path / f"it's{suffix}", query="SELECT step, value FROM metrics;")
    quoted = str(target).replace("'", "''")
    assert duckdb.sql(f"SELECT step, value FROM '{quoted}' ORDER BY step").fetchall() == [
        (0, 0.0),
        (1, 1.0),
        (2, 2.0),
    ]
    again = filled.export(target, table="metrics")
    assert again == target
    rows = duckdb.sql(f"SELECT count(*), count(attrs) FROM '{quoted}'").fetchall()
    assert rows == [(3, 3)]
    assert [p.name for p in tmp_path.iterdir() if p.name != "runs"] == [target.name]


def test_json_is_one_array(filled: Store, tmp_path: Path) -> None:
    target = filled.export(tmp_path / "x.json", query="SELECT step, attrs FROM metrics ORDER BY 1")
    assert json.loads(target.read_text())[2] == {"step": 2, "attrs": {"k": 2}}


def test_a_wrong_export_leaves_nothing(filled: Store, tmp_path: Path) -> None:
    wrong = [
        ("x.xlsx", {"table": "metrics"}, r"ends in '\.xlsx'; known are \.parquet, \.csv, \.json"),
        ("x.csv", {"table": "metrix"}, r"table='metrix'; the store has runs, "),
        ("x.csv", {}, "exactly one of them"),
        ("x.csv", {"table": "runs", "query": "FROM runs"}, "exactly one of them"),
        ("no/x.csv", {"table": "runs"}, "the folder .* does not exist"),
    ]
    for name, what, message in wrong:
        with pytest.raises(ConfigError, match=message):
            filled.export(tmp_path / name, **what)
    with pytest.raises(QueryError, match="metrix"):
        filled.export(tmp_path / "x.csv", query="FROM metrix")
    (tmp_path / "old.csv").write_text("old")
    with pytest.raises(QueryError, match="Could not convert"):
        filled.export(tmp_path / "old.csv", query="SELECT metric::INT FROM metrics")
    assert (tmp_path / "old.csv").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old.csv", "runs"]
