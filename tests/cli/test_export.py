"""``devtrack export``."""

from __future__ import annotations

import csv
import json

import duckdb
import pytest

from devtrack.store import open_store

QUIET, GROKKING = "quiet-20261121-093000-aaaa", "grokking-20261121-094000-bbbb"


def test_export_writes_the_metrics_by_default(devtrack, pristine, tmp_path):
    code, out, err = devtrack("export", "all.parquet", "--store", pristine)
    assert (code, out, err) == (0, f"{tmp_path / 'all.parquet'}\n", "")
    (count,) = duckdb.sql(f"SELECT count(*) FROM '{tmp_path / 'all.parquet'}'").fetchall()[0]
    assert count == open_store(pristine).sql("SELECT count(*) FROM metrics").fetchall()[0][0]


def test_export_of_a_query_and_of_a_view(devtrack, pristine, tmp_path):
    query = "SELECT step FROM llc WHERE run = 'quiet' AND status = 'ok' ORDER BY step LIMIT 2"
    assert devtrack("export", "a.csv", "--query", query, "--store", pristine)[0] == 0
    with (tmp_path / "a.csv").open() as file:
        assert list(csv.reader(file)) == [["step"], ["0"], ["1"]]
    assert devtrack("export", "b.json", "--table", "events", "--store", pristine)[0] == 0
    assert len(json.loads((tmp_path / "b.json").read_text())) == 2
    assert devtrack("export", "events.json", "--store", pristine)[0] == 0
    assert (tmp_path / "events.json").read_text() == (tmp_path / "b.json").read_text()


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["a.xlsx"], "known are .parquet, .csv, .json"),
        (["a.csv", "--table", "metrix"], "the store has runs, metrics"),
        (["a.csv", "--table", "runs", "--query", "FROM runs"], "exactly one"),
        (["a.csv", "--query", "FROM metrix"], "Did you mean"),
        (["no/folder/a.csv"], "does not exist"),
    ],
)
def test_a_bad_export_is_one_line_and_leaves_no_file(devtrack, pristine, tmp_path, arguments, part):
    code, out, err = devtrack("export", *arguments, "--store", pristine)
    assert (code, out) == (1, "")
    assert part in err
    assert err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == []
