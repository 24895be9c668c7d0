"""HTML out of any text."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from devtrack.report import _markup as markup
from devtrack.report._markup import element, foldable, joined, table


class Reader(HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.text, self.tags, self.attributes = "", [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text += data


def read(markup):
    reader = Reader()
    reader.feed(markup)
    reader.close()
    return reader


# a NUL or a surrogate is no text in HTML; a carriage return reads as a line feed
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"))


@given(TEXT, TEXT)
def test_any_text_is_read_back_as_it_was_and_makes_no_tag(text, attribute):
    seen = read(element("p", text, element("b", text), title=attribute))
    assert seen.tags == ["p", "b"]
    assert seen.text == text + text
    assert seen.attributes == [("title", attribute)]


def test_what_was_made_goes_in_as_it_is_and_what_joins_is_escaped():
    assert joined(["a", element("i", "b")], by="<") == "a&lt;<i>b</i>"
    seen = read(table(("<h>", "n"), [("<a>", "1")], numeric=frozenset({1})))
    assert seen.text == "<h>n<a>1"
    assert seen.tags == ["div", "table", "thead", "tr", "th", "th", "tbody", "tr", "td", "td"]
    assert seen.attributes == [("class", "wide"), ("class", "n"), ("class", "n")]


def test_long_names_fold_at_their_dots_and_a_column_does_not_shrink_to_letters():
    assert foldable("blocks.0.head_2") == "blocks.<wbr>0.<wbr>head_<wbr>2"
    assert foldable("<b>") == "&lt;b&gt;"
    style = Path(markup.__file__).with_name("page.css").read_text("utf-8")
    on_screen, on_paper = style.split("@media print")
    assert re.findall(r"(?m)^(?:th, )?td \{ overflow-wrap: (.*); \}", on_screen) == ["break-word"]
    assert "td { overflow-wrap: anywhere; }" in on_paper, "paper cannot be scrolled"
