"""The glossary has an entry for every stored name, and the site can read it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from glossary import read_glossary
from schema_reference import find_schema, read_schema

ROOT = Path(__file__).parents[2]
ENTRIES = read_glossary(ROOT / "docs" / "glossary.md")


def _keys_of_attrs(tree: ast.AST) -> Iterator[str]:
    """Yield the keys of dicts called attrs, passed as attrs, or passed to a Row or an Event."""
    for node in ast.walk(tree):
        dicts: list[ast.expr | None] = []
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                if isinstance(target, ast.Name) and target.id == "attrs":
                    dicts.append(node.value)
                if isinstance(target, ast.Subscript) and ast.unparse(target.value) == "attrs":
                    yield from _texts([target.slice])
        elif isinstance(node, ast.Call):
            dicts += [keyword.value for keyword in node.keywords if keyword.arg == "attrs"]
            if ast.unparse(node.func).split(".")[-1] in ("Row", "Event"):
                dicts += node.args
        for value in dicts:
            if isinstance(value, ast.Dict):
                yield from _texts(value.keys)


def _texts(nodes: list[ast.expr] | list[ast.expr | None]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _kinds_of_events(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "Event":
            yield from _texts(node.args[:1])


def _trees() -> list[ast.AST]:
    return [ast.parse(path.read_text()) for path in sorted((ROOT / "devtrack").rglob("*.py"))]


def test_every_column_has_an_entry():
    schema = read_schema(find_schema())
    columns = {column.name for one in (*schema.tables, *schema.views) for column in one.columns}
    assert "content_hash" in columns
    assert columns - set(ENTRIES) == set()


def test_every_key_of_attrs_has_an_entry():
    keys = {key for tree in _trees() for key in _keys_of_attrs(tree)}
    assert {"rhat", "reasons", "error", "momentum"} <= keys
    assert keys - set(ENTRIES) == set()


def test_every_kind_of_event_has_an_entry():
    kinds = {kind for tree in _trees() for kind in _kinds_of_events(tree)}
    assert {"resume", "alarm"} <= kinds
    assert kinds - set(ENTRIES) == set()


def test_a_sentence_is_short_and_ends_and_has_a_source():
    for term, (sentence, source) in ENTRIES.items():
        assert len(sentence.split()) <= 25, term
        assert sentence.endswith("."), term
        assert source, term


@pytest.mark.parametrize(
    "text",
    [
        "`a`\n: It is.\n",  # no source
        "`a`\n: It is. Source: b.\n\n`a`\n: It is. Source: b.\n",  # twice
        "`a`\n: It is.\n\n`b`\n: It is. Source: c.\n",  # the source of another entry
    ],
)
def test_a_wrong_entry_is_refused(tmp_path, text):
    path = tmp_path / "glossary.md"
    path.write_text(text)
    with pytest.raises(ValueError, match="two entries, or no 'Source"):
        read_glossary(path)
