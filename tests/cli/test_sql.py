"""``devtrack runs`` and ``devtrack sql``."""

from __future__ import annotations

import csv
import io
import json
import shutil

import pytest

from devtrack.store import open_store

QUIET, GROKKING = "quiet-20261121-093000-aaaa", "grokking-20261121-094000-bbbb"


def test_runs_lists_the_runs_oldest_first(devtrack, pristine):
    code, out, err = devtrack("runs", "--store", pristine)
    assert code == 0
    assert err == ""
    header, *lines = out.splitlines()
    assert header.split()[:2] == ["run", "run_id"]
    assert [line.split()[0] for line in lines] == ["quiet", "grokking"]


def test_runs_as_json(devtrack, pristine):
    _, out, _ = devtrack("runs", "--store", pristine, "--json")
    first, second = json.loads(out)
    assert (first["run"], second["run_id"]) == ("quiet", GROKKING)
    assert first["last_step"] == 2000
    assert first["created_utc"] == "2026-11-21T09:30:00"


def test_an_empty_store_exits_with_3(devtrack, tmp_path):
    open_store(tmp_path / "empty", create=True)
    code, out, err = devtrack("runs", "--store", tmp_path / "empty")
    assert (code, out) == (3, "")
    assert err.startswith("devtrack: no runs in the store")
    code, out, _ = devtrack("runs", "--store", tmp_path / "empty", "--json")
    assert (code, json.loads(out)) == (3, [])


def test_the_store_may_come_from_the_environment(devtrack, pristine, monkeypatch):
    monkeypatch.setenv("DEVTRACK_STORE", str(pristine))
    assert devtrack("runs")[0] == 0


def test_sql_prints_an_aligned_table_to_a_pipe(devtrack, pristine):
    query = "SELECT metric, count(*) AS n FROM metrics WHERE run = 'quiet' GROUP BY ALL ORDER BY 1"
    code, out, err = devtrack("sql", query, "--store", pristine)
    assert (code, err) == (0, "")
    counts = open_store(pristine).sql(query).fetchall()
    assert out.splitlines() == [
        "metric        n",
        f"llc          {counts[0][1]}",
        f"loss         {counts[1][1]}",
        f"weight_norm  {counts[2][1]}",
    ]


def test_sql_reads_the_query_from_a_pipe(devtrack, pristine):
    code, out, _ = devtrack("sql", "--store", pristine, stdin="SELECT 42 AS answer\n")
    assert (code, out.split()) == (0, ["answer", "42"])


def test_json_nests_attrs_and_turns_unknown_numbers_into_null(devtrack, pristine):
    query = f"SELECT step, value, attrs FROM metrics WHERE run_id = '{GROKKING}' AND metric = 'llc'"
    code, out, _ = devtrack("sql", query, "--store", pristine, "--json")
    assert code == 0
    lines = {line["step"]: line for line in json.loads(out)}
    assert lines[0]["attrs"] == {"rhat": 1.01}
    assert lines[7]["value"] is None
    assert lines[7]["attrs"]["error"] == "boom"


def test_json_survives_what_it_has_no_word_for(devtrack, pristine):
    query = (
        "SELECT 'nan'::DOUBLE AS a, 1.5::DECIMAL(4, 2) AS b, [1.0, 'inf'::DOUBLE] AS c, "
        "{'d': DATE '2026-11-21'} AS d, INTERVAL 1 DAY AS e, 'ü\"\n' AS f, true AS g"
    )
    (line,) = json.loads(devtrack("sql", query, "--store", pristine, "--json")[1])
    assert line == {
        "a": None,
        "b": 1.5,
        "c": [1.0, None],
        "d": {"d": "2026-11-21"},
        "e": "1 day, 0:00:00",
        "f": 'ü"\n',
        "g": True,
    }


def test_csv_can_be_read_back(devtrack, pristine):
    query = "SELECT 'a,\"b\"' AS text, NULL AS gap, 0.1 + 0.2::DOUBLE AS number, [1, 2] AS list"
    _, out, _ = devtrack("sql", query, "--store", pristine, "--csv")
    assert list(csv.reader(io.StringIO(out))) == [
        ["text", "gap", "number", "list"],
        ['a,"b"', "", "0.30000000000000004", "[1, 2]"],
    ]


@pytest.mark.parametrize(("flag", "stdout"), [(None, ""), ("--json", "[]\n"), ("--csv", "step\n")])
def test_no_rows_exit_with_3(devtrack, pristine, flag, stdout):
    query = "SELECT step FROM metrics WHERE step < 0"
    code, out, err = devtrack("sql", query, "--store", pristine, *([flag] if flag else []))
    assert (code, out, err) == (3, stdout, "devtrack: no rows\n")


def test_a_query_cannot_write(devtrack, pristine, tmp_path):
    before = open_store(pristine).sql("SELECT count(*) FROM metrics").fetchall()
    copy = f"COPY metrics TO '{tmp_path / 'x.csv'}'"
    for query in (copy, "DELETE FROM metrics", "DROP VIEW metrics", "CREATE TABLE metrics (a INT)"):
        result = devtrack("sql", query, "--store", pristine)
        assert_one_line_error(result, "may write", "`devtrack sql --csv`")
    assert list(tmp_path.iterdir()) == []
    assert open_store(pristine).sql("SELECT count(*) FROM metrics").fetchall() == before


@pytest.mark.parametrize(
    ("arguments", "stdin"),
    [(["sql", "FROM runs", "--json", "--csv"], None), (["sql"], "  \n"), (["sql", "--nope"], None)],
)
def test_wrong_usage_exits_with_2(devtrack, pristine, arguments, stdin):
    code, out, err = devtrack(*arguments, "--store", pristine, stdin=stdin)
    assert (code, out) == (2, "")
    assert "Error:" in err


def test_a_query_without_quotes_is_told_to_have_them(devtrack, pristine):
    code, _, err = devtrack("sql", "SELECT", "step", "FROM", "llc", "--store", pristine)
    assert code == 2
    assert "4 words: put the query in quotes" in err


def assert_one_line_error(result, *parts):
    code, out, err = result
    assert (code, out) == (1, "")
    assert err.startswith("devtrack: ")
    assert err.count("\n") == 1
    for part in parts:
        assert part in err


def test_a_wrong_path_says_where_it_looked_and_what_a_store_is(devtrack, tmp_path):
    for command in (["runs"], ["sql", "FROM runs"], ["transitions"], ["timeline"], ["compact"]):
        assert_one_line_error(
            devtrack(*command, "--store", tmp_path / "nowhere"),
            "nowhere: does not exist",
            "a store is a folder with store.json",
            "Pass the folder",
        )


def test_wrong_sql_shows_the_query_the_complaint_and_the_views(devtrack, pristine):
    assert_one_line_error(
        devtrack("sql", "FROM metrix", "--store", pristine),
        "'FROM metrix'",
        'Did you mean "metrics"?',
        "Views: runs, metrics",
    )
    assert_one_line_error(
        devtrack("sql", "SELECT valeu FROM metrics", "--store", pristine), "valeu", "DESCRIBE"
    )
    assert_one_line_error(
        devtrack("sql", "SELECT CAST(metric AS INT) FROM metrics", "--store", pristine),
        "Could not convert",
    )


def test_a_newer_store_is_refused(devtrack, store):
    (store / "store.json").write_text('{"format": "devtrack", "format_version": 99}')
    assert_one_line_error(
        devtrack("sql", "FROM runs", "--store", store),
        "format_version 99",
        "reads up to",
        "Upgrade: pip install -U devtrack",
    )


def test_a_damaged_segment_is_named_and_the_rest_is_read(devtrack, store):
    (segment,) = (store / QUIET / "segments" / "metrics").glob("*.parquet")
    segment.write_bytes(b"PAR1 and then nothing")
    code, out, err = devtrack("sql", "SELECT DISTINCT run FROM metrics", "--store", store)
    assert (code, out.split()) == (0, ["run", "grokking"])
    assert err.startswith("devtrack: warning: ")
    assert err.count("\n") == 1
    assert segment.name in err


def test_a_store_in_a_folder_that_vanished_is_one_line(devtrack, store):
    shutil.rmtree(store)
    assert_one_line_error(devtrack("runs", "--store", store), "does not exist")
