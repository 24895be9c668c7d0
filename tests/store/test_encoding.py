"""Every field of every record may be given any value: its row stays, and no other is touched."""

from collections.abc import Callable
from dataclasses import fields, replace
from enum import Enum
from typing import Any

import numpy as np
import pytest
import torch

from devtrack.records import ChainTrace, Event, Record, Row, SnapshotRecord, TrainingProgress
from devtrack.store import _encoding as encoding
from devtrack.store._encoding import Author, Columns, Stamped, table_of, to_columns
from devtrack.store._layout import WRITER_TABLES
from devtrack.store._schema import Column, columns_of, select_list
from devtrack.store._segments import writer_connection


def _refuse(*_: object) -> Any:
    raise RuntimeError("refused")


class _Refusing:
    __str__ = __repr__ = __float__ = __int__ = __index__ = __len__ = __iter__ = _refuse
    __array__ = __bool__ = tolist = _refuse
    __class__ = property(_refuse)  # type: ignore[assignment]  # what isinstance asks for


class _Float(float):
    __str__ = __repr__ = __float__ = __int__ = _refuse


class _Int(int):
    __str__ = __repr__ = __float__ = __int__ = __le__ = __lt__ = __index__ = _refuse


class _Text(str):
    __str__ = __repr__ = encode = _refuse


class _Kind(Enum):
    HUGE = 10**5000


_STRANGE: dict[str, Any] = {
    "none": None,
    "refusing": _Refusing(),
    "word": "no number",
    "lone surrogate": "\ud800",
    "float that refuses": _Float(1.0),
    "int that refuses": _Int(1),
    "text that refuses": _Text("a"),
    "enum of more than a text": _Kind.HUGE,
    "nan": float("nan"),
    "inf": float("inf"),
    "more than 64 bits": 2**70,
    "minus 2**63": -(2**63),
    "more than a float": 10**400,
    "more than a text": 10**5000,
    "no real number": 1 + 2j,
    "two integers": np.array([1, 2]),
    "two numbers": torch.ones(2),
    "a cube": np.ones((2, 2, 2)),
    "no numbers": [[1.0], [1.0, 2.0]],
    "class": _Refusing,
    "time beyond": np.datetime64(2**62, "s"),
    "mapping": {"a": {1, _Refusing()}, _Refusing(): 10**5000},
}
_RECORDS: list[Record] = [
    Row("a", 1.0, 0.5, attrs={"a": 1}),
    ChainTrace("a", np.ones((2, 1)), np.zeros((2, 1))),
    ChainTrace("a", np.ones((2, 3)), np.zeros((2, 3)), 1),
    Event("a", "b", {"a": 1}),
    SnapshotRecord("ab", "c", 1),
]
_AUTHOR = Author("r1", 0, 0)
_CLOCK = TrainingProgress(7)
_CONNECTION = writer_connection()


def _stored(table: str, columns: Columns) -> list[dict[str, Any]]:
    """Return the rows as a segment would hold them."""
    _CONNECTION.register("batch", dict(columns))
    found = _CONNECTION.execute(f"SELECT {select_list(table)} FROM batch")
    names = [name for name, *_ in found.description or ()]
    return [dict(zip(names, line)) for line in found.fetchall()]


def _cases() -> list[Any]:
    return [
        pytest.param(record, field.name, id=f"{type(record).__name__}-{field.name}")
        for record in _RECORDS
        for field in fields(record)
    ]


@pytest.mark.parametrize("strange", _STRANGE)
@pytest.mark.parametrize(("record", "field"), _cases())
@pytest.mark.filterwarnings("ignore::numpy.exceptions.ComplexWarning")
def test_a_field_of_any_value_takes_no_row_with_it(record: Any, field: str, strange: str) -> None:
    table = table_of(record)
    bad = replace(record, **{field: _STRANGE[strange]})
    stamped = [Stamped(seq, _CLOCK, given) for seq, given in enumerate((record, bad, record))]
    found = _stored(table, to_columns(table, stamped, _AUTHOR))
    assert {line["seq"] for line in found} == {0, 1, 2}
    alone = _stored(table, to_columns(table, stamped[:1], _AUTHOR))
    assert [line for line in found if line["seq"] == 0] == alone


@pytest.mark.parametrize("strange", _STRANGE)
@pytest.mark.parametrize("field", [field.name for field in fields(TrainingProgress)])
def test_a_clock_of_any_value_takes_no_row_with_it(field: str, strange: str) -> None:
    clock = replace(_CLOCK, **{field: _STRANGE[strange]})
    stamped = [Stamped(0, _CLOCK, Event("a")), Stamped(1, clock, Event("b"))]
    found = _stored("events", to_columns("events", stamped, _AUTHOR))
    assert [(line["seq"], line["kind"]) for line in found] == [(0, "a"), (1, "b")]


@pytest.mark.parametrize(
    ("kind", "stored"),
    [
        ("DOUBLE", None),
        ("BIGINT", -1),
        ("INTEGER", -1),
        ("TIMESTAMP", None),
        ("VARCHAR", "<_Refusing>"),
        ("JSON", '"<_Refusing>"'),
    ],
)
def test_a_column_to_come_is_converted_by_its_type(
    monkeypatch: pytest.MonkeyPatch, kind: str, stored: object
) -> None:
    """Whoever adds a column writes no conversion, and so none that raises."""
    real: Callable[[Any], dict[str, Any]] = encoding._snapshot_line
    added = (*columns_of("snapshots"), Column("added", kind))
    monkeypatch.setattr(encoding, "columns_of", lambda table: added)
    monkeypatch.setattr("devtrack.store._schema.columns_of", lambda table: added)
    line = {"snapshots": lambda record: {**real(record), "added": _STRANGE["refusing"]}}
    monkeypatch.setattr(encoding, "_LINE_OF", line)
    stamped = [Stamped(0, _CLOCK, SnapshotRecord("ab", "c", 1))]
    (found,) = _stored("snapshots", to_columns("snapshots", stamped, _AUTHOR))
    assert found["added"] == stored
    assert (found["path"], found["snapshot_bytes"]) == ("c", 1)


def test_losses_stay_where_the_baseline_is_no_number() -> None:
    trace = ChainTrace("a", np.ones((2, 3)), None)  # type: ignore[arg-type]
    found = _stored("chains", to_columns("chains", [Stamped(0, _CLOCK, trace)], _AUTHOR))
    assert [(line["loss"], line["baseline"]) for line in found] == 6 * [(1.0, None)]


@pytest.mark.parametrize("record", _RECORDS, ids=lambda record: type(record).__name__)
def test_the_encoded_columns_are_those_of_the_schema(record: Record) -> None:
    """A column that is missing here stops all writing."""
    table = table_of(record)
    encoded = to_columns(table, [Stamped(0, _CLOCK, record)], _AUTHOR)
    assert sorted(encoded) == sorted(column.name for column in columns_of(table))
    assert len({len(values) for values in encoded.values()}) == 1


def test_there_is_a_record_for_every_table_of_a_writer() -> None:
    assert {table_of(record) for record in _RECORDS} == set(WRITER_TABLES)


def test_every_type_of_the_schema_has_a_conversion() -> None:
    types = {column.type for table in WRITER_TABLES for column in columns_of(table)}
    assert types == set(encoding._CONVERSIONS)
