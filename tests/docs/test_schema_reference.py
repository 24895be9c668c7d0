"""The SQL reference is what the schema says."""

from __future__ import annotations

from schema_reference import Column, find_schema, read_schema, to_markdown

SCHEMA = read_schema(find_schema())


def test_public_views_are_there_and_internal_ones_are_not():
    names = [view.name for view in SCHEMA.views]
    assert {"metrics", "llc", "transitions", "runs"} <= set(names)
    assert not any("." in name for name in names)
    assert {"segment.metrics", "segment.chains"} <= {table.name for table in SCHEMA.tables}


def test_columns_have_types_and_the_comments_beside_them():
    views = {view.name: view for view in SCHEMA.views}
    columns = {column.name: column for column in views["llc"].columns}
    assert columns["ess"] == Column("ess", "DOUBLE", "effective sample size")
    assert columns["reasons"].type == "VARCHAR[]"
    tables = {table.name: table for table in SCHEMA.tables}
    columns = {column.name: column for column in tables["segment.transitions"].columns}
    assert columns["midpoint"].comment == columns["end_step"].comment == "steps"
    assert views["chains"].comment.startswith("The losses along the sampling chains")


def test_the_table_takes_what_the_schema_leaves_out_from_the_glossary():
    text = to_markdown(SCHEMA.tables, {"epoch": "Number of epochs."})
    assert "| `epoch` | BIGINT | Number of epochs. |" in text
    assert r"| `baseline` | DOUBLE | L(w\*) on the same data |" in text


def test_the_introduction_has_the_conventions_as_one_list():
    assert "## Conventions" in SCHEMA.introduction
    items = SCHEMA.introduction.partition("## Conventions\n")[2].strip().split("\n")
    assert all(item.startswith(("* ", "  ")) for item in items)
