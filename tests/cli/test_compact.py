"""``devtrack compact``."""

from __future__ import annotations

QUIET, GROKKING = "quiet-20261121-093000-aaaa", "grokking-20261121-094000-bbbb"


def test_compact_says_what_it_did(devtrack, store):
    code, out, _ = devtrack("compact", "--store", store, "quiet")
    assert code == 0
    assert out.split()[:4] == ["run_id", "segments_before", "segments_after", QUIET]
    code, out, _ = devtrack("compact", "--store", store)
    assert QUIET in out
    assert GROKKING in out


def test_compact_of_an_unknown_run(devtrack, store):
    code, out, err = devtrack("compact", "--store", store, "quite")
    assert (code, out) == (1, "")
    assert "Did you mean 'quiet'" in err
