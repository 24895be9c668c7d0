"""``devtrack report``."""

from __future__ import annotations

import pytest


def test_it_writes_one_file_named_after_the_run_and_prints_its_path(devtrack, store, tmp_path):
    code, out, err = devtrack("report", "grokking", "--store", store)
    assert (code, out) == (0, "grokking.html\n")
    assert err == "devtrack: looking for transitions in run 'grokking'\n"
    text = (tmp_path / "grokking.html").read_text("utf-8")
    assert text.startswith("<!DOCTYPE html>")
    assert "llc" in text and ">T0</a>, half-way" in text
    assert devtrack("report", "grokking", "--store", store)[2] == "", "nothing is stale"


def test_a_suffix_may_be_in_capitals(devtrack, analysed):
    code, out, _ = devtrack("report", "grokking", "--output", "A.HTML", "--store", analysed)
    assert (code, out) == (0, "A.HTML\n")


@pytest.mark.parametrize(
    ("arguments", "code", "parts"),
    [
        (["groking"], 1, ["run 'groking'", "Did you mean 'grokking'"]),
        (["--output", "x.pdf"], 1, ["output='x.pdf'", "must end in .html", "Try --output"]),
        (["--output", "no/x.html"], 1, ["no/x.html", "does not exist", "Create it first"]),
    ],
)
def test_bad_input_leaves_no_file(devtrack, analysed, tmp_path, arguments, code, parts):
    given, out, err = devtrack("report", *arguments, "--store", analysed)
    assert (given, out) == (code, "")
    for part in parts:
        assert part in " ".join(err.replace("│", " ").split())
    assert not list(tmp_path.glob("*.html"))
