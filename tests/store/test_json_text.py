import json
import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devtrack.store._json_text import to_json

_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
_CONNECTION = duckdb.connect()


@settings(max_examples=200)
@given(_values)
def test_any_value_is_strict_json_that_duckdb_takes(value: Any) -> None:
    text = to_json(value)
    json.loads(text, parse_constant=pytest.fail)
    assert _CONNECTION.execute("SELECT json_valid(?)", [text]).fetchall() == [(True,)]


@given(st.dictionaries(st.text(st.characters(codec="utf-8")), st.integers(-(2**63), 2**63 - 1)))
def test_plain_values_come_back(value: dict[str, int]) -> None:
    assert json.loads(to_json(value)) == value


class _Colour(StrEnum):
    RED = "red"


@dataclass
class _Point:
    x: float


class _Hostile:
    def __str__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (math.nan, None),
        (-math.inf, "-Infinity"),
        (np.float32(0.5), 0.5),
        (np.float64("nan"), None),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.array([1.0, math.nan]), [1.0, None]),
        ({"a": (1, {2})}, {"a": [1, [2]]}),
        ({1: 2, None: 3}, {"1": 2, "None": 3}),
        (_Colour.RED, "red"),
        (_Point(1.0), {"x": 1.0}),
        (2**70, str(2**70)),
        (_Hostile(), "<_Hostile>"),
        (
            {"huge": 10**5000, "known": [1, _Hostile()]},
            {"huge": "<int>", "known": [1, "<_Hostile>"]},
        ),
        ({_Hostile(): 1, "known": 2}, {"<_Hostile>": 1, "known": 2}),
        ("\ud800", "?"),
        (np.datetime64("2026-01-02"), "2026-01-02"),
    ],
)
def test_strange_values(value: Any, expected: Any) -> None:
    assert json.loads(to_json(value)) == expected


def test_an_object_within_itself_ends() -> None:
    loop: list[Any] = []
    loop.extend([loop, loop])
    assert json.loads(to_json(loop))
