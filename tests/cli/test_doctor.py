"""``devtrack doctor``."""

from __future__ import annotations

import json
import sys
from importlib.metadata import version

STORES_AS_USERS_MAKE_THEM = True

QUIET, GROKKING = "quiet-20261121-093000-aaaa", "grokking-20261121-094000-bbbb"


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
