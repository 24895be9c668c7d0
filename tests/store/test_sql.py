from datetime import datetime
from pathlib import Path

import pytest

from devtrack.errors import QueryError
from devtrack.records import Row, RunInfo, TrainingProgress
from devtrack.store import Store, open_store

STORES_AS_USERS_MAKE_THEM = True

PIVOT = "PIVOT metrics ON metric USING first(value) GROUP BY step"


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = open_store(tmp_path_factory.mktemp("store") / "runs", create=True)
    with store.writer(RunInfo("r1", "r1", datetime(2026, 1, 1))) as writer:
        writer.append(TrainingProgress(0), [Row("a", 1.0), Row("b", 2.0)])
    return store


@pytest.mark.parametrize(
    "query",
    [
        "COPY metrics TO 'x.csv'",
        "FROM metrics; COPY metrics TO 'x.csv'",
        f"COPY ({PIVOT}) TO 'x.csv'",
        "EXPLAIN ANALYZE COPY metrics TO 'x.csv'",
        "EXPLAIN (ANALYZE, FORMAT json) COPY metrics TO 'x.csv'",
        "EXPLAIN ANALYZE /* SELECT */ CREATE TABLE x AS FROM metrics",
        "WITH a AS (COPY metrics TO 'x.csv') FROM a",
        "PREPARE p AS COPY metrics TO 'x.csv'; EXECUTE p",
        "EXPORT DATABASE 'x'",
        "ATTACH 'x.duckdb'",
        "COPY FROM DATABASE memory TO memory",
        "CREATE TABLE x AS FROM metrics",
        f"CREATE TABLE x AS {PIVOT}",
        "CREATE OR REPLACE VIEW metrics AS SELECT 1",
        "DROP VIEW metrics",
        "WITH a AS (SELECT 1) INSERT INTO metrics FROM a",
        "SET log_query_path = 'x'",
        "PRAGMA profiling_output = 'x'",
        "CALL enable_logging()",
        "UPDATE EXTENSIONS",
    ],
)
def test_a_statement_that_may_write_is_refused_and_writes_nothing(
    filled: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(QueryError, match=r"may write, .* SELECT, .* use `devtrack export`.*"):
        filled.sql(query)
    assert list(Path().iterdir()) == []
    assert filled.sql("SELECT count(*) FROM metrics").fetchall() == [(2,)]


@pytest.mark.parametrize(
    "query",
    [
        "FROM metrics",
        "/* all */ (SELECT * FROM metrics); -- and no more",
        "WITH a AS (FROM metrics) FROM a",
        "VALUES (1)",
        PIVOT,
        f"WITH a AS ({PIVOT}) FROM a",
        "UNPIVOT metrics ON value",
        "DESCRIBE metrics",
        "SUMMARIZE metrics",
        "SHOW TABLES",
        "EXPLAIN FROM metrics",
        "EXPLAIN (FORMAT json) FROM metrics",
        "explain analyze (SELECT 1)",
        "EXPLAIN (SELECT 1)",
        f"EXPLAIN {PIVOT}",
        "SELECT 'a copy', \"copy\" /* COPY */ FROM (SELECT 'ü' AS \"copy\")",
    ],
)
def test_every_way_to_read_is_open(filled: Store, query: str) -> None:
    assert filled.sql(query).fetchall()
