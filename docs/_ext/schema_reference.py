"""The SQL reference: Markdown made from the comments of ``schema.sql`` and from DuckDB's own types.

The page ``sql.md`` holds three marks. Each is replaced when the page is read.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import duckdb
from glossary import read_glossary
from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[2]

_PART = re.compile(r"^-- =+ (tables|files|views)$", re.MULTILINE)
_RELATION = re.compile(r"^CREATE (TABLE|VIEW) ([\w.]+)", re.MULTILINE)
_COLUMN = re.compile(r"\b(\w+) [A-Z]+(?:,|$)")
_ALIAS = re.compile(r"\b(?:AS )?(\w+)\s*,?$")


class Column(NamedTuple):
    """A column with its DuckDB type and what the schema says about it."""

    name: str
    type: str
    comment: str


class Relation(NamedTuple):
    """A table or a view with its comment and its columns."""

    name: str
    comment: str
    columns: tuple[Column, ...]


class Schema(NamedTuple):
    """What ``schema.sql`` says.

    Attributes:
        introduction: Markdown of the comment at the head of the file.
        tables: What the segments hold.
        views: What a user queries.
    """

    introduction: str
    tables: tuple[Relation, ...]
    views: tuple[Relation, ...]


def find_schema() -> Path:
    """Return the one ``schema.sql`` of the library."""
    (path,) = (ROOT / "devtrack").rglob("schema.sql")
    return path


def read_schema(path: Path) -> Schema:
    """Return the tables and views of a ``schema.sql``, without those that are internal."""
    text = path.read_text(encoding="utf-8")
    header, *rest = _PART.split(text)
    parts = dict(zip(rest[::2], rest[1::2], strict=True))
    types = _types(parts)
    tables = tuple(_relations(parts["tables"], types, {}))
    known = {column.name: column.comment for table in tables for column in table.columns}
    views = tuple(view for view in _relations(parts["views"], types, known) if "." not in view.name)
    return Schema(_introduction(header), tables, views)


def _relations(
    part: str, types: Mapping[str, list[tuple[str, str]]], known: Mapping[str, str]
) -> Iterator[Relation]:
    """Yield the relations of one part; a column without a comment takes that of ``known``."""
    matches = list(_RELATION.finditer(part))
    for match, following in zip(matches, [*matches[1:], None], strict=True):
        name = match[2]
        body = part[match.start() : following.start() if following else None].partition(";\n")[0]
        comments = {**known, **_column_comments(body, is_table=match[1] == "TABLE")}
        columns = (Column(column, kind, comments.get(column, "")) for column, kind in types[name])
        yield Relation(name, _comment_before(part[: match.start()]), tuple(columns))


def _comment_before(text: str) -> str:
    lines: list[str] = []
    for line in reversed(text.rstrip("\n").splitlines()):
        if not line.startswith("--"):
            break
        lines.insert(0, line.removeprefix("--").strip())
    return " ".join(lines)


def _column_comments(body: str, *, is_table: bool) -> dict[str, str]:
    """Return the comments beside columns; one beside several columns belongs to each of them."""
    found: dict[str, str] = {}
    for line in body.splitlines():
        code, dashes, comment = line.partition("--")
        if not dashes:
            continue
        names = _COLUMN.findall(code.strip()) if is_table else _ALIAS.findall(code.strip())
        found |= dict.fromkeys(names, comment.strip())
    return found


def _types(parts: Mapping[str, str]) -> dict[str, list[tuple[str, str]]]:
    """Return the columns of every relation with their types, as DuckDB finds them.

    The views read files, so that an empty store is made for them.
    """
    with tempfile.TemporaryDirectory() as folder, duckdb.connect(":memory:") as connection:
        run = Path(folder) / "run"
        (run / "attempts").mkdir(parents=True)
        (run / "run.json").write_text("{}\n")
        (run / "attempts" / "0000.json").write_text("{}\n")
        connection.execute("CREATE SCHEMA segment;\n" + parts["tables"])
        for _, table in _RELATION.findall(parts["tables"]):
            segments = run / "segments" / table.removeprefix("segment.")
            segments.mkdir(parents=True)
            target = segments / "a0000-r000-0-0.parquet"
            connection.execute(f"COPY (FROM {table}) TO '{target}' (FORMAT parquet)")
        found = {
            name: _described(connection, name) for _, name in _RELATION.findall(parts["tables"])
        }
        views = (
            (parts["files"] + parts["views"]).replace("$STORE_TEXT", "").replace("$STORE", folder)
        )
        connection.execute(re.sub(r"\$[A-Z_]+", "", views))
        names = (name for kind, name in _RELATION.findall(parts["views"]) if kind == "VIEW")
        return found | {name: _described(connection, name) for name in names}


def _described(connection: duckdb.DuckDBPyConnection, name: str) -> list[tuple[str, str]]:
    return [(row[0], row[1]) for row in connection.execute(f"DESCRIBE {name}").fetchall()]


def _introduction(header: str) -> str:
    """Return the comment at the head of the file as Markdown: text, code and a list."""
    lines = [line.removeprefix("--") for line in header.strip().splitlines()]
    written: list[str] = []
    for line in lines[1:]:  # the first is the title
        text = line.strip()
        if line.startswith("   * "):
            is_first = not any(one.startswith("* ") for one in written)
            written += [*([""] * is_first), f"* {_escaped(text[2:])}"]
        elif line.startswith("     "):
            written.append(f"  {_escaped(text)}")
        elif line.startswith("   "):
            written.append(f"    {text}")
        else:
            written.append(_escaped(text))
    return "\n".join(written).replace("\nConventions\n", "\n## Conventions\n")


def _escaped(text: str) -> str:
    """Return text that Markdown shows as it is."""
    return re.sub(r"[<*|\[\]]", r"\\\g<0>", text)


def to_markdown(relations: Iterable[Relation], meanings: Mapping[str, str]) -> str:
    """Return a section with a table of columns for each relation.

    Args:
        relations: Tables or views.
        meanings: What the glossary says about columns that the schema says nothing about.
    """
    sections = []
    for relation in relations:
        lines = [f"### `{relation.name}`", "", _escaped(relation.comment), ""]
        lines += ["| column | type | meaning |", "|---|---|---|"]
        for column in relation.columns:
            meaning = _escaped(column.comment) or meanings.get(column.name, "")
            lines.append(f"| `{column.name}` | {_escaped(column.type)} | {meaning} |")
        sections.append("\n".join(lines))
    return "\n\n".join(sections)


def _fill(app: Sphinx, docname: str, source: list[str]) -> None:
    if docname != "sql":
        return
    path, glossary = find_schema(), Path(app.srcdir) / "glossary.md"
    for file in (path, glossary):
        app.env.note_dependency(str(file))
    schema = read_schema(path)
    meanings = {name: entry.sentence for name, entry in read_glossary(glossary).items()}
    written = {
        "introduction": schema.introduction,
        "views": to_markdown(schema.views, meanings),
        "tables": to_markdown(schema.tables, meanings),
    }
    for mark, text in written.items():
        source[0] = source[0].replace(f"<!-- {mark} of schema.sql -->", text)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    app.connect("source-read", _fill)
    return {"parallel_read_safe": True}
