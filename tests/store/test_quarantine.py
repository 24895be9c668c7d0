from collections.abc import Callable

import pytest

from devtrack.errors import StoreError
from devtrack.records import Row, RunInfo, TrainingProgress
from devtrack.store import Store, StoreWarning, open_store

STORES_AS_USERS_MAKE_THEM = True

Info = Callable[..., RunInfo]


def _three_segments(store: Store, info: RunInfo) -> None:
    writer = store.writer(info)
    for step in range(3):
        writer.append(TrainingProgress(step), [Row("a", float(step), attrs={"text": "x" * 500})])
        writer.flush()
    writer.close(compact=False)


def _truncate(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _flip(content: bytes) -> bytes:
    """Invert bytes within the pages: the footer still looks well."""
    inverted = bytes(255 - byte for byte in content[4:200])
    return content[:4] + inverted + content[200:]


@pytest.mark.parametrize("damage", [_truncate, _flip, lambda _: b""])
@pytest.mark.parametrize("reopen", [False, True])
def test_a_damaged_segment_is_named_put_aside_and_the_rest_is_read(
    store: Store, info: Info, damage: Callable[[bytes], bytes], reopen: bool
) -> None:
    _three_segments(store, info())
    segments = sorted((store.path / "r1" / "segments" / "metrics").glob("*.parquet"))
    spoilt = damage(segments[1].read_bytes())
    segments[1].write_bytes(spoilt)
    if reopen:
        (store.path / "devtrack.duckdb").unlink()  # the views are bound again, over the damage
    with pytest.warns(StoreWarning, match=rf"{segments[1].name}: damaged .*quarantine"):
        store = open_store(store.path) if reopen else store
        rows = store.sql("SELECT * FROM metrics ORDER BY step").fetchall()
    assert [row[5] for row in rows] == [0, 2]
    kept = store.path / "r1" / "quarantine" / "metrics" / segments[1].name
    assert kept.read_bytes() == spoilt
    assert len(store.sql("FROM metrics").fetchall()) == 2


def test_damage_in_a_store_that_cannot_be_written_is_an_error(
    store: Store, info: Info, monkeypatch: pytest.MonkeyPatch
) -> None:
    _three_segments(store, info())
    segment = min((store.path / "r1" / "segments" / "metrics").glob("*.parquet"))
    segment.write_bytes(b"x")

    def refuse(_: object) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr("devtrack.store._quarantine.make_dirs", refuse)
    with pytest.raises(StoreError, match=r"damaged .* cannot be put aside .*Make the store writ"):
        store.sql("FROM metrics")
    assert segment.exists()


def test_a_damaged_schema_file_is_written_anew(store: Store, info: Info) -> None:
    _three_segments(store, info())
    for path in (store.path / "_schema").rglob("*.parquet"):
        path.write_bytes(b"x")
    assert len(store.sql("FROM metrics").fetchall()) == 3
    assert open_store(store.path).check() == []
