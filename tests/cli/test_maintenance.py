"""``devtrack export``, ``compact`` and ``doctor``."""

from __future__ import annotations

import csv
import json
import sys
from importlib.metadata import version

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


def test_compact_says_what_it_did(devtrack, store):
    code, out, _ = devtrack("compact", "--store", store, "--run", "quiet")
    assert code == 0
    assert out.split()[:4] == ["run_id", "segments_before", "segments_after", QUIET]
    code, out, _ = devtrack("compact", "--store", store)
    assert QUIET in out
    assert GROKKING in out


def test_compact_of_an_unknown_run(devtrack, store):
    code, out, err = devtrack("compact", "--store", store, "--run", "quite")
    assert (code, out) == (1, "")
    assert "Did you mean 'quiet'" in err


def test_doctor_of_a_good_store(devtrack, pristine):
    code, out, err = devtrack("doctor", "--store", pristine, "--json")
    assert (code, err) == (0, "")
    lines = json.loads(out)
    assert {line["severity"] for line in lines} == {"ok"}
    said = [line["what"] for line in lines]
    assert f"torch {version('torch')}" in said
    assert f"python {sys.version.split()[0]}" in said
    assert said[-1] == f"store {pristine}: 2 runs, nothing wrong"


def test_doctor_exits_with_1_when_rows_are_missing(devtrack, store):
    (segment,) = (store / QUIET / "segments" / "metrics").glob("*.parquet")
    segment.write_bytes(b"PAR1 and then nothing")
    code, out, err = devtrack("doctor", "--store", store)
    assert code == 1
    assert err == "devtrack: 1 error found\n"
    assert str(segment) in out
    assert segment.exists(), "doctor only looks"


def test_doctor_changes_nothing(devtrack, store):
    """Not even what opening the store would renew, or put aside on the way."""
    (store / "devtrack.duckdb").unlink()
    min(store.glob("*/segments/metrics/*.parquet")).write_bytes(b"x" * 100)
    before = {file: file.read_bytes() for file in store.rglob("*") if file.is_file()}
    code, out, _ = devtrack("doctor", "--store", store)
    assert code == 1
    assert "damaged segment" in out and "devtrack.duckdb: missing" in out
    assert {file: file.read_bytes() for file in store.rglob("*") if file.is_file()} == before


def test_doctor_without_a_store(devtrack, tmp_path):
    code, out, _ = devtrack("doctor")
    assert code == 0, "nobody said that there is a store here"
    assert "note" in out
    code, out, _ = devtrack("doctor", "--store", tmp_path / "nowhere")
    assert code == 1
    assert "nowhere: does not exist" in out
