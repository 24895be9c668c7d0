"""Reads ``docs/glossary.md``: a definition list with one sentence and one source for each term."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

_ENTRY = re.compile(
    r"^`(?P<term>[^`\n]+)`\n: (?P<sentence>.+?)\s+Source: (?P<source>.+?)\.$",
    re.MULTILINE | re.DOTALL,
)


class Entry(NamedTuple):
    """What a term means, and where the meaning comes from."""

    sentence: str
    source: str


def read_glossary(path: Path) -> dict[str, Entry]:
    """Return the entries of a glossary by term.

    Raises:
        ValueError: If a term has two entries, or an entry is not of the form of the others.
    """
    text = path.read_text(encoding="utf-8")
    matches = list(_ENTRY.finditer(text))
    found = {
        match["term"]: Entry(_line(match["sentence"]), _line(match["source"])) for match in matches
    }
    terms = re.findall(r"^`([^`\n]+)`\n: ", text, re.MULTILINE)
    wrong = [term for term in terms if terms.count(term) > 1 or term not in found]
    if wrong or len(found) != len(terms) or any("\n\n" in match[0] for match in matches):
        raise ValueError(f"{path}: two entries, or no 'Source: ….' at the end: {wrong}")
    return found


def _line(text: str) -> str:
    return " ".join(text.split())
