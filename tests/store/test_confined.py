"""A query reads the store and nothing else, and writes nothing, whoever wrote it."""

from __future__ import annotations

import shutil
import time
from datetime import datetime
from pathlib import Path

import duckdb
import pytest

from devtrack.errors import ConfigError, DevtrackError, QueryError
from devtrack.records import Row, RunInfo, TrainingProgress
from devtrack.store import QueryLimits, Store, open_store

STORES_AS_USERS_MAKE_THEM = True

HOSTILE = [
    # files of this computer
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM read_csv_auto('/etc/passwd', sep=':')",
    "SELECT * FROM sniff_csv('/etc/passwd')",
    "SELECT content FROM read_text('/etc/passwd')",
    "SELECT content FROM read_text(['/etc/passwd', '/etc/hostname'])",
    "SELECT content FROM read_blob('/etc/passwd')",
    "SELECT * FROM glob('/etc/*')",
    "SELECT * FROM glob('{outside}/*')",
    "SELECT * FROM read_json('{outside}/secret.json')",
    "SELECT * FROM read_json_objects('{outside}/secret.json')",
    "SELECT * FROM read_parquet('{outside}/secret.parquet')",
    "SELECT * FROM parquet_scan('{outside}/secret.parquet')",
    "SELECT * FROM parquet_metadata('{outside}/secret.parquet')",
    "SELECT * FROM read_duckdb('{outside}/other.duckdb', table_name='t')",
    "FROM '{outside}/secret.parquet'",
    "FROM '/etc/passwd.csv'",
    "FROM '{store}/../outside/secret.parquet'",
    "SELECT content FROM read_text('{store}/link/secret.json')",
    "SELECT content FROM read_text('secret.json')",
    "SELECT content FROM read_text('file:///etc/passwd')",
    # within another query
    "WITH a AS (SELECT * FROM read_text('/etc/passwd')) SELECT size FROM a",
    "SELECT (SELECT content FROM read_text('/etc/passwd'))",
    "SELECT * FROM metrics WHERE metric IN (SELECT content FROM read_text('/etc/passwd'))",
    "SELECT * FROM metrics, LATERAL (SELECT * FROM read_text('/etc/passwd'))",
    "EXPLAIN ANALYZE SELECT * FROM read_text('/etc/passwd')",
    "DESCRIBE FROM '{outside}/secret.parquet'",
    "SUMMARIZE '{outside}/secret.parquet'",
    "CREATE MACRO f() AS TABLE FROM read_text('/etc/passwd'); FROM f()",
    "CREATE TEMP VIEW v AS FROM read_text('/etc/passwd'); FROM v",
    "SELECT * FROM query('SELECT content FROM read_text(''/etc/passwd'')')",
    "SELECT * FROM query('SELECT 1')",
    "SELECT * FROM \"query\"('SELECT 1')",
    "SELECT * FROM query /* c */ ('SELECT 1')",
    "SELECT * FROM system.main.query('SELECT 1')",
    "SELECT * FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))",
    # the network
    "SELECT * FROM read_csv('http://127.0.0.1:9/x.csv')",
    "SELECT * FROM 'https://127.0.0.1:9/x.parquet'",
    "SELECT * FROM read_parquet('s3://bucket/x.parquet')",
    "SELECT * FROM read_text('hf://datasets/a/b.csv')",
    # other databases and extensions
    "ATTACH '{outside}/new.duckdb'",
    "ATTACH '{store}/new.duckdb'",
    "ATTACH ':memory:' AS m",
    "INSTALL httpfs",
    "FORCE INSTALL httpfs FROM community",
    "LOAD httpfs",
    "LOAD '{outside}/evil.duckdb_extension'",
    "USE memory",
    # files to be written
    "COPY metrics TO '{outside}/x.csv'",
    "COPY metrics TO '{store}/store.json'",
    "COPY/**/metrics TO '{store}/store.json'",
    "COPY (SELECT 1) TO '{store}/r1/run.json'",
    "SELECT 1; COPY (SELECT 1) TO '{store}/x.csv'",
    "WITH a AS (COPY/* */(SELECT 1) TO '{store}/x.csv') FROM a",
    "SELECT * FROM query('WITH a AS (COPY (SELECT 1) TO ''{store}/x.csv'') FROM a')",
    "EXPORT DATABASE '{store}/x'",
    "IMPORT DATABASE '{outside}'",
    "CREATE TABLE t AS SELECT 1",
    "INSERT INTO metrics SELECT 1",
    "DELETE FROM metrics",
    "CHECKPOINT",
    "SELECT * FROM checkpoint()",
    # profiles and logs
    "FROM enable_profiling(save_location='{outside}/prof.json')",
    "FROM enable_profiling(save_location='{store}/prof.json')",
    "FROM system.main.Enable_Profiling(save_location='{store}/prof.json')",
    "CALL enable_profiling(save_location='{outside}/prof.json')",
    "FROM enable_logging(storage='file', storage_path='{outside}')",
    "FROM enable_logging(storage='file', storage_path='{store}')",
    "PRAGMA enable_profiling='json'",
    "PRAGMA profiling_output='{outside}/prof.json'",
    "SET log_query_path='{outside}/log'",
    # the locks themselves
    "SET enable_external_access=true",
    "SET lock_configuration=false",
    "RESET lock_configuration",
    "SET allowed_directories=['/']",
    "SET GLOBAL allowed_paths=['/etc/passwd']",
    "SET temp_directory='{outside}'",
    "SET VARIABLE segments_metrics=['/etc/passwd']",
    "CALL pragma_version()",
    # secrets, the environment, foreign memory
    "SELECT getenv('HOME')",
    "CREATE SECRET s (TYPE s3)",
    "FROM which_secret('s3://x', 's3')",
    "FROM arrow_scan(1, 2, 3)",
    "FROM pandas_scan(1)",
    "FROM python_map_function(1)",
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("confined")
    store = open_store(place / "runs", create=True)
    with store.writer(RunInfo("r1", "r1", datetime(2026, 1, 1))) as writer:
        writer.append(TrainingProgress(0), [Row("a", 1.0), Row("b", 2.0), Row("c", 3.0)])
    outside = place / "outside"
    outside.mkdir()
    (outside / "secret.json").write_text('{"a": 1}')
    duckdb.execute(f"COPY (SELECT 1 AS a) TO '{outside / 'secret.parquet'}'")
    duckdb.execute(f"ATTACH '{outside / 'other.duckdb'}' AS other; DETACH other")
    (store.path / "link").symlink_to(outside)
    return place


@pytest.fixture(scope="module")
def store(place: Path) -> Store:
    if True:
        store = open_store(place / "runs")
        store.sql("FROM metrics")
    return store


def _state(place: Path) -> dict[str, tuple[int, int]]:
    found = {path: path.lstat() for path in sorted(place.rglob("*"))}
    times = {path: 0 if path.is_dir() else stat.st_mtime_ns for path, stat in found.items()}
    return {str(path): (stat.st_size, times[path]) for path, stat in found.items()}


def _filled(query: str, place: Path) -> str:
    return query.replace("{store}", str(place / "runs")).replace("{outside}", f"{place}/outside")


@pytest.mark.parametrize("query", HOSTILE)
@pytest.mark.parametrize("door", ["sql", "export"])
def test_what_reaches_beyond_the_store_is_refused_and_changes_nothing(
    store: Store, place: Path, monkeypatch: pytest.MonkeyPatch, query: str, door: str
) -> None:
    monkeypatch.chdir(place / "outside")
    before = _state(place)
    with pytest.raises(DevtrackError):
        if door == "sql":
            store.sql(_filled(query, place)).fetchall()
        else:
            store.export(place / "outside" / "target.csv", query=_filled(query, place))
    assert _state(place) == before
    assert store.sql("SELECT count(*) FROM metrics").fetchall() == [(3,)]


BREAKOUTS = [
    "SELECT 1) TO '{outside}/x.csv'; --",
    "SELECT 1) TO '{store}/store.json' (FORMAT csv) --",
    "SELECT 1) TO '{outside}/x.csv'; COPY (SELECT 2",
    "SELECT 1); COPY (SELECT 2) TO '{outside}/x.csv'; SELECT (1",
    "SELECT 1) TO '{outside}/x.csv' /*",
    "SELECT 1 UNION (SELECT content FROM read_text('/etc/passwd')) ) TO '{outside}/x' --",
    "SELECT $$a$$) TO '{outside}/x.csv' --",
    "SELECT E'\\'') TO '{outside}/x.csv' --",
]


@pytest.mark.parametrize("query", BREAKOUTS)
def test_no_query_breaks_out_of_an_export(store: Store, place: Path, query: str) -> None:
    before = _state(place)
    with pytest.raises(DevtrackError):
        store.export(place / "outside" / "target.csv", query=_filled(query, place))
    assert _state(place) == before


@pytest.mark.parametrize(
    "query",
    [
        "SELECT ') TO ''x'' --' AS text",
        "SELECT 1 AS a -- a comment at the end",
        "SELECT 1 AS a; -- another",
        "SELECT query FROM transitions UNION ALL SELECT 'x'",
    ],
)
def test_an_export_takes_quotes_and_comments(store: Store, tmp_path: Path, query: str) -> None:
    target = store.export(tmp_path / "x.csv", query=query)
    assert len(target.read_text().splitlines()) == 2


@pytest.mark.parametrize(
    "query",
    [
        "SELECT count(*) FROM read_parquet('{store}/r1/segments/metrics/*.parquet')",
        "FROM '{store}/r1/segments/metrics/a0000-r000-000000000000-000000000002.parquet'",
        "SELECT run_id FROM read_json('{store}/r1/run.json')",
        "SELECT * FROM glob('{store}/*/run.json')",
        "SELECT unnest(range(3)), version(), to_timestamp(0) AT TIME ZONE 'Europe/Zurich'",
        "SELECT 1 AS query",
        "FROM duckdb_functions() LIMIT 1",
        "SELECT j.key FROM metrics, json_each('{\"a\": 1}') AS j",
    ],
)
def test_the_store_itself_is_open(store: Store, place: Path, query: str) -> None:
    assert store.sql(_filled(query, place)).fetchall()


def test_a_store_behind_a_link_is_read(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "runs" / "r1", tmp_path / "real" / "r1")
    shutil.copy(place / "runs" / "store.json", tmp_path / "real")
    (tmp_path / "alias").symlink_to(tmp_path / "real")
    store = open_store(tmp_path / "alias")
    assert store.sql("SELECT count(*) FROM metrics").fetchall() == [(3,)]


ENDLESS = "SELECT count(*) FROM range(1000000) a, range(1000000) b WHERE a.range * b.range % 7 = 8"


def test_a_query_ends_at_its_time_limit(store: Store, tmp_path: Path) -> None:
    start = time.monotonic()
    with pytest.raises(QueryError, match=r"ran longer than timeout_s=0\.2; .*larger timeout_s"):
        store.sql(ENDLESS, timeout_s=0.2)
    with pytest.raises(QueryError, match=r"timeout_s=0\.2"):
        store.export(tmp_path / "x.csv", query=ENDLESS, timeout_s=0.2)
    limited = Store(store.path, limits=QueryLimits(timeout_s=0.2))
    with pytest.raises(QueryError, match=r"timeout_s=0\.2"):
        limited.sql(ENDLESS)
    assert time.monotonic() - start < 20  # minutes without a limit
    assert list(tmp_path.iterdir()) == []
    assert store.sql("SELECT count(*) FROM metrics").fetchall() == [(3,)]


def test_a_query_ends_at_its_row_limit(store: Store, tmp_path: Path) -> None:
    assert len(store.sql("FROM range(5)", max_rows=5).fetchall()) == 5
    with pytest.raises(QueryError, match=r"more than max_rows=5 rows; .*LIMIT.*larger max_rows"):
        store.sql("FROM range(6)", max_rows=5)
    with pytest.raises(QueryError, match="max_rows=5"):
        store.export(tmp_path / "x.csv", query="FROM range(6)", max_rows=5)
    assert list(tmp_path.iterdir()) == []
    start = time.monotonic()
    with pytest.raises(QueryError, match="max_rows=1000"):
        store.sql("FROM range(1000000000000)", max_rows=1000)
    assert time.monotonic() - start < 20  # the rows that nobody gets are not made
    last = store.sql("SELECT range FROM range(6) ORDER BY range DESC", max_rows=6).fetchall()
    assert last[0] == (5,)


@pytest.mark.parametrize(
    "limits", [{"timeout_s": 0}, {"timeout_s": "1"}, {"max_rows": 0}, {"max_rows": 1.5}]
)
def test_a_limit_must_be_a_positive_number(store: Store, limits: dict) -> None:
    with pytest.raises(ConfigError, match=next(iter(limits))):
        store.sql("SELECT 1", **limits)


def test_no_data_is_spilled_into_the_working_folder(store: Store) -> None:
    (setting,) = store.sql("SELECT current_setting('temp_directory')").fetchall()[0]
    assert not Path(setting).is_relative_to(Path.cwd())
    assert not Path(setting).exists()
