"""Planted estimates: which count, and what the table makes of them."""

from datetime import datetime

import pytest

from analysis.command import run_comparison
from analysis.llc_accuracy import SQL, llc_accuracy
from devtrack.records import Row, RunInfo, Status, TrainingProgress
from devtrack.store import open_store


@pytest.fixture
def store(tmp_path):
    opened = open_store(tmp_path / "runs", create=True)
    writer = opened.writer(RunInfo("a-1", "a", datetime(2026, 11, 21)))
    estimates = [(7.0, 6.0), (7.0, 7.0), (7.0, 900.0), (8.5, 9.35), (None, 3.0)]
    for step, (exact, llc) in enumerate(estimates):
        status = Status.SUSPECT if llc == 900 else Status.OK
        rows = [Row("llc", llc, 0.5, status=status)]
        if exact is not None:
            rows.append(Row("llc/exact", exact))
        writer.append(TrainingProgress(step), rows)
    writer.close()
    writer = opened.writer(RunInfo("b-1", "b", datetime(2026, 11, 21)))
    writer.append(TrainingProgress(0), [Row("llc", 1.0)])
    writer.close()
    return opened


def test_only_trusted_estimates_with_an_exact_value_count(store):
    found = store.sql(SQL.read_text("utf-8"), {"runs": [info.run_id for info in store.runs()]})
    lines = [dict(zip(found.columns, line)) for line in found.fetchall()]
    assert [(line["run"], line["exact"], line["estimates"], line["ok"]) for line in lines] == [
        ("a", 7.0, 3, 2),
        ("a", 8.5, 1, 1),
    ]
    assert lines[0]["llc"] == pytest.approx(6.5)
    assert lines[0]["error"] == pytest.approx(6.5 / 7 - 1)
    assert lines[0]["spread"] == pytest.approx(0.5**0.5)
    assert lines[1]["error"] == pytest.approx(0.1)


def test_it_prints_its_sql_and_table_and_writes_its_picture(store, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ["--store", str(store.path), "--out", str(out)]
    assert run_comparison(llc_accuracy, question="How far?", arguments=arguments) == 0
    printed = capsys.readouterr().out
    assert SQL.read_text("utf-8") in printed
    assert "8.5" in printed
    assert (out / "llc_accuracy.png").read_bytes().startswith(b"\x89PNG")


def test_a_store_without_exact_values_is_nothing_found(tmp_path, capsys):
    opened = open_store(tmp_path / "runs", create=True)
    writer = opened.writer(RunInfo("b-1", "b", datetime(2026, 11, 21)))
    writer.append(TrainingProgress(0), [Row("llc", 1.0)])
    writer.close()
    arguments = ["--store", str(opened.path), "--out", str(tmp_path)]
    assert run_comparison(llc_accuracy, question="How far?", arguments=arguments) == 3
    assert "llc/exact" in capsys.readouterr().err
    missing = ["--store", str(tmp_path / "none"), "--out", str(tmp_path)]
    assert run_comparison(llc_accuracy, question="How far?", arguments=missing) == 1
