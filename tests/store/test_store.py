import json
import threading
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from devtrack.errors import QueryError, StoreError
from devtrack.records import Row, RunInfo, Status, TrainingProgress
from devtrack.store import Store, open_store

STORES_AS_USERS_MAKE_THEM = True

Info = Callable[..., RunInfo]


def test_a_wrong_path_is_said_in_three_parts(tmp_path: Path, store: Store) -> None:
    with pytest.raises(StoreError, match=r"nowhere: does not exist; a store is a folder with .*"):
        open_store(tmp_path / "nowhere")
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match=r"file: is a file; a store is"):
        open_store(tmp_path / "file")
    with pytest.raises(StoreError, match=r"has no store\.json.*Did you mean .*/runs\?"):
        open_store(store.path.parent)
    (store.path / "r1").mkdir()
    with pytest.raises(StoreError, match=r"r1: has no store\.json.*Did you mean .*/runs\?"):
        open_store(store.path / "r1")
    assert not (tmp_path / "nowhere").exists()


def test_a_store_is_made_in_an_empty_folder_and_in_no_other(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert open_store(tmp_path / "empty", create=True).runs() == []
    assert open_store(tmp_path / "a" / "b", create=True).runs() == []
    full = tmp_path / "full"
    full.mkdir()
    (full / "thesis.tex").write_text("x")
    with pytest.raises(StoreError, match=r"other files in it; .*empty or missing .*full/runs"):
        open_store(full, create=True)
    assert [path.name for path in full.iterdir()] == ["thesis.tex"]
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match=r"is a file; a new store needs"):
        open_store(tmp_path / "file", create=True)
    with pytest.raises(StoreError, match=r"cannot be created"):
        open_store(tmp_path / "file" / "below", create=True)


def test_many_may_create_at_once(tmp_path: Path) -> None:
    faults: list[Exception] = []

    def make() -> None:
        try:
            open_store(tmp_path / "runs", create=True).sql("FROM metrics")
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=make) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []


def test_a_newer_or_damaged_store_is_refused(store: Store) -> None:
    path = store.path / "store.json"
    path.write_text(json.dumps({"format": "devtrack", "format_version": 2}))
    with pytest.raises(StoreError, match=r"format_version 2; .* reads up to 1\. Upgrade: pip"):
        open_store(store.path)
    path.write_text("{")
    with pytest.raises(StoreError, match=r"store\.json: cannot be read .*Restore it"):
        open_store(store.path)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("FROM metrix", r"'FROM metrix': .*metrix does not exist! Did you mean .*Views: runs, "),
        ("SELECT valu FROM metrics", r'"valu" not found.*"value".*DESCRIBE metrics'),
        ('FROM metrics WHERE metric = "llc"', r"single quotes: 'llc'"),
        ("SELEC 1", r"syntax error at or near .*schema\.sql"),
        ("SELECT 'x'::INT", r"Could not convert string"),
        ("SELECT ?", r"'SELECT \?'"),
        ("FROM query", r"query does not exist"),  # a Python variable is no table
        ("  ", r"says nothing"),
    ],
)
def test_wrong_sql_is_said_in_one_line(store: Store, query: str, message: str) -> None:
    with pytest.raises(QueryError, match=message) as caught:
        store.sql(query)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT ?",
        "SELECT $name",
        "SELECT error('my own')",
        "SELECT regexp_extract('a', '(')",
        "SELECT strptime('x', '%Y')",
        "SELECT json_extract('{', '$.a')",
    ],
)
def test_a_wrong_query_does_not_make_the_store_be_searched_for_damage(
    store: Store, monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    monkeypatch.setattr("devtrack.store.store.quarantine_damage", pytest.fail)
    with pytest.raises(QueryError):
        store.sql(query)


def test_too_little_memory_does_not_make_the_store_be_searched_for_damage(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_much(connection: duckdb.DuckDBPyConnection, *_: object) -> None:
        connection.execute("SET memory_limit = '1MB'")
        connection.execute("SELECT * FROM range(10000000) ORDER BY random()").fetchall()

    monkeypatch.setattr("devtrack.store.store.run_query", too_much)
    monkeypatch.setattr("devtrack.store.store.quarantine_damage", pytest.fail)
    with pytest.raises(QueryError, match="memory"):
        store.sql("FROM metrics")


def test_a_result_stays_when_the_store_changes(store: Store, info: Info) -> None:
    writer = store.writer(info())
    writer.append(TrainingProgress(0), [Row("a", 1.0)])
    writer.flush()
    result = store.sql("SELECT step, value FROM metrics WHERE metric = ?", ["a"])
    writer.append(TrainingProgress(1), [Row("a", 2.0)])
    writer.flush()
    writer.close()
    store.close()
    assert result.fetchall() == [(0, 1.0)]
    assert result.columns == ["step", "value"]
    assert result.df().value.tolist() == [1.0]
    named = store.sql("SELECT count(*) FROM metrics WHERE step <= $upto", {"upto": 1})
    assert named.fetchall() == [(2,)]


def test_latest_llc_and_probes(store: Store, info: Info) -> None:
    nan = float("nan")
    with store.writer(info(name="grok")) as writer:
        for step in (0, 10):
            attrs = {"rhat": 1.2, "ess": 50, "reasons": ["rhat"], "chain_values": [1.0, nan]}
            writer.append(
                TrainingProgress(step),
                [
                    Row("llc", 3.0 + step, 0.1, status="suspect", attrs=attrs),  # type: ignore
                    Row("rllc", 1.0, site="blocks.0"),
                    Row("probe/parity/accuracy", 0.9, 0.01, "embed"),
                    Row("probe/parity/control_accuracy", 0.5, 0.02, "embed"),
                    Row("probe/parity/selectivity", 0.4, 0.03, "embed", "suspect"),  # type: ignore
                    Row("probe/size/r_squared", 0.7, 0.04, "embed"),
                    Row("probe/size/control_r_squared", -0.1, 0.05, "embed"),
                    Row("probe/size/mdl_bits", 0.5, 0.02, "embed"),
                    Row("probe/size/compression", 2.0, 0.08, "embed"),
                    Row("probe/a.b/accuracy", nan, status="failed"),  # type: ignore[arg-type]
                ],
            )
    latest = "SELECT DISTINCT step, count(*) OVER () FROM metrics_latest"
    assert store.sql(latest).fetchall() == [(10, 10)]
    llc = "SELECT run, llc, rhat, ess, gamma_ratio, reasons, chain_values FROM llc WHERE step = 10 "
    assert store.sql(llc + "AND metric = 'llc'").fetchall() == [
        ("grok", 13.0, 1.2, 50.0, None, ["rhat"], [1.0, None])
    ]
    assert store.sql("SELECT count(*) FROM llc WHERE site = 'blocks.0'").fetchall() == [(2,)]
    probes = (
        "SELECT * EXCLUDE (run_id, attempt, r_squared, r_squared_se, control_r_squared, "
        "control_r_squared_se, mdl_bits, mdl_bits_se, compression, compression_se) "
        "FROM probes WHERE step = 0 AND probe <> 'size' ORDER BY probe"
    )
    assert store.sql(probes).fetchall() == [
        ("grok", 0, "model", "a.b", None, None, None, None, None, None, "failed"),
        ("grok", 0, "embed", "parity", 0.9, 0.01, 0.5, 0.02, 0.4, 0.03, "suspect"),
    ]
    regression = (
        "SELECT accuracy, r_squared, r_squared_se, control_r_squared, mdl_bits, compression_se, "
        "status FROM probes "
    )
    assert store.sql(regression + "WHERE step = 0 AND probe = 'size'").fetchall() == [
        (None, 0.7, 0.04, -0.1, 0.5, 0.08, "ok")
    ]


def test_an_llc_of_any_name_is_one_and_a_covariance_by_the_same_chains_is_none(
    store: Store, info: Info
) -> None:
    attrs = {"n_beta": 30.0, "localization": 1.0, "gamma_ratio": 1.0}
    names = ["llc", "llc_slow", "llc/teacher", "rllc/text"]
    with store.writer(info()) as writer:
        rows = [Row(name, 5.0, attrs={**attrs, "chain_values": [5.0]}) for name in names]
        writer.append(TrainingProgress(0), [*rows, Row("susceptibility/text", 1.0, attrs=attrs)])
        writer.append(TrainingProgress(1), [Row("llc", float("nan"), status=Status.FAILED)])
    found = store.sql("SELECT metric FROM llc ORDER BY step, metric").fetchall()
    assert found == [("llc",), ("llc/teacher",), ("llc_slow",), ("rllc/text",), ("llc",)]
