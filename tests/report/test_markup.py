"""HTML out of any text."""

from __future__ import annotations

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from devtrack.report.markup import element, joined, table


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
