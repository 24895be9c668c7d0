from datetime import datetime

import pytest

from devtrack.store._layout import is_run_id
from devtrack.store._provenance import new_run_id, versions

NOW = datetime(2026, 11, 21, 9, 30, 12)


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("../a b/ü", "a-b-u"),
        ("_Net", "Net"),
        ("Übung", "Ubung"),
        ("模型", "run"),
        ("net 模型 2", "net-2"),
        ("x" * 300, "x" * 80),
        ("///", "run"),
        ("", "run"),
        ("\udcff.tmp", "tmp"),
    ],
)
def test_every_name_gives_an_id_that_the_store_takes(name, kept):
    run_id = new_run_id(name, NOW)
    assert is_run_id(run_id)
    assert run_id.startswith(f"{kept}-20261121-093012-")


def test_ids_of_one_name_and_second_differ():
    ends = {new_run_id("net", NOW).rpartition("-")[2] for _ in range(100)}
    assert len(ends) == 100
    assert {len(end) for end in ends} == {8}  # 32 bits: 1000 runs clash once in 8600 times


def test_versions_name_the_packages():
    assert versions()["torch"].startswith("2.")
