from datetime import datetime

from devtrack.provenance import new_run_id, versions

NOW = datetime(2026, 11, 21, 9, 30, 12)


def test_ids_are_safe_folder_names_and_differ():
    ids = {new_run_id("../a b/ü", NOW) for _ in range(20)}
    assert len(ids) > 15
    for run_id in ids:
        assert "/" not in run_id
        assert not run_id.startswith((".", "-"))
    assert new_run_id("///", NOW).startswith("run-20261121-093012-")


def test_versions_name_the_packages():
    assert versions()["torch"].startswith("2.")
