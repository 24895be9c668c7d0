from itertools import pairwise
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from devtrack.store._layout import SegmentName, is_run_id, parse_segment_name, uncovered

_names = st.builds(
    lambda attempt, rank, lo, length: SegmentName(attempt, rank, lo, lo + length),
    st.integers(0, 2),
    st.integers(0, 1),
    st.integers(0, 30),
    st.integers(0, 10),
)


@given(_names)
def test_a_segment_name_says_what_it_was_made_of(name: SegmentName) -> None:
    assert parse_segment_name(str(name)) == name


def test_what_is_no_segment_is_not_parsed() -> None:
    for text in ("x.parquet", "a0000-r000-1-2.parquet.7-ab.tmp", "a0-r0-1-2.parquet"):
        assert parse_segment_name(text) is None


@given(st.lists(st.integers(1, 5), min_size=1, max_size=8), st.data())
def test_uncovered_keeps_each_record_once(sizes: list[int], data: st.DataObject) -> None:
    # disjoint neighbours, some runs of which were merged: what any crash can leave behind
    cuts = [sum(sizes[:k]) for k in range(len(sizes) + 1)]
    narrow = [SegmentName(0, 0, a, b - 1) for a, b in pairwise(cuts)]
    upto = data.draw(st.integers(1, len(narrow)))
    wide = SegmentName(0, 0, 0, cuts[upto] - 1)
    kept = uncovered([*narrow, wide] if wide not in narrow else narrow)
    assert [seq for name in kept for seq in range(name.lo, name.hi + 1)] == list(range(cuts[-1]))


def test_a_run_id_is_a_plain_folder_name() -> None:
    for good in ("grokking-20261121-093012-4f1a90c2", "0", "a.b_c"):
        assert is_run_id(good) and Path(good).name == good
    for bad in ("", ".", "..", "a/b", "_schema", ".x", "a b", "x.tmp", "a" * 300):
        assert not is_run_id(bad)
