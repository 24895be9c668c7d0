"""Check the language of docstrings, comments and Markdown pages.

Run ``python tests/prose.py PATH...`` to print one ``file:line: rule: sentence`` per finding.
Without a path it checks all files that the gate checks. It exits with 1 if it finds something.

The rules are those of ``CONTRIBUTING.md``:

* ``decimal``: write 0.5, not the same number without its zero.
* ``phrase``: the words in ``PHRASES`` are not used.
* ``length``: a sentence of a docstring has at most 25 words.
* ``summary``: the first line of a docstring is one sentence that ends with a period.

Code is left out of every rule: literals in backticks, fenced and indented blocks, doctests.
Sentences in tables and section headings have no length.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]

MAX_WORDS = 25

PHRASES = {
    "what of": r"what of",
    "lest": r"lest",
    "bear": r"bears?",
    "put aside": r"put(?:s|ting)? aside",
    "told": r"told",
    "by so many": r"by so many",
    "is met": r"(?:is|are) met",
}
_PHRASE = re.compile(
    "|".join(rf"\b(?P<p{i}>{pattern})\b" for i, pattern in enumerate(PHRASES.values())),
    re.IGNORECASE,
)
_DECIMAL = re.compile(r"(?<![\w.)\]])\.\d")

_CODE = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)", re.DOTALL)
_URL = re.compile(r"(?:https?://|\bdoi:|\barXiv:)[^\s<>]*\w/?")
_FENCE = re.compile(r"^\s*(?P<fence>`{3,}|~{3,}|:{3,})")
_ITEM = re.compile(r"^\s*(?:[-*+]|\d+[.)])\s+")
_FIELD = re.compile(r"^\s*[\w*]+(?:, [\w*]+)*(?: \([^)]*\))?: ")
_HEADING = re.compile(r"^\s*[A-Z][A-Za-z]*(?: [a-z]+)?:$")
_ABBREVIATION = re.compile(r"\b(e\.g|i\.e|et al|eq|eqs|app|fig|sec|def|vs|cf|approx|no|ca)\.", re.I)
_SENTENCE_END = re.compile(r"(?<=[.!?])[)\"'”’]*\s+(?=[^a-z\s])")
_DIRECTIVE = re.compile(
    r"#\s*(?:noqa(?::\s*[A-Z]+\d+(?:,\s*[A-Z]+\d+)*)?|(?:type|pyright):\s*ignore(?:\[[\w, -]*\])?)"
    r"|#\s*(?:pragma|fmt|ruff):.*|#!.*"
)
_WORD = re.compile(r"\S*[^\W\d_]\S*")


class Finding(NamedTuple):
    """One breach of one rule.

    Attributes:
        line: Number of the line that the sentence begins in.
        rule: Name of the rule.
        sentence: The sentence, on one line.
    """

    line: int
    rule: str
    sentence: str


class Text(NamedTuple):
    """A piece of prose: its lines, the number of the first one, and the rules that it follows."""

    line: int
    lines: list[str]
    kind: str  # "docstring", "attribute", "comment" or "page"


def check(path: Path) -> list[Finding]:
    """Return what is wrong with the language of a file, in order of its lines."""
    text = path.read_text(encoding="utf-8")
    read = {".py": _texts_of_python, ".sql": _texts_of_sql, ".md": _texts_of_markdown}
    return check_texts(read[path.suffix](text))


def check_texts(texts: Iterable[Text]) -> list[Finding]:
    """Return what is wrong with pieces of prose, in order of their lines."""
    found = [finding for text in texts for finding in _check_text(text)]
    return sorted(set(found))


def check_docstring(docstring: str) -> list[Finding]:
    """Return what is wrong with one docstring."""
    return check_texts([Text(1, docstring.splitlines(), "docstring")])


def check_comment(comment: str) -> list[Finding]:
    """Return what is wrong with one comment."""
    return check_texts([Text(1, [comment], "comment")])


def check_markdown(text: str) -> list[Finding]:
    """Return what is wrong with one Markdown page."""
    return check_texts(_texts_of_markdown(text))


def _check_text(text: Text) -> Iterator[Finding]:
    if text.kind == "docstring":
        summary = text.lines[0].strip() if text.lines else ""
        if not summary.endswith("."):
            yield Finding(text.line, "summary", summary)
    for line, sentence in _sentences(text):
        said = sentence.replace("\0", ".")
        if _DECIMAL.search(sentence):
            yield Finding(line, "decimal", said)
        for match in _PHRASE.finditer(sentence):
            name = list(PHRASES)[int((match.lastgroup or "p0")[1:])]
            yield Finding(line, f"phrase '{name}'", said)
        counted = text.kind in ("docstring", "attribute") and "|" not in sentence
        count = len(_WORD.findall(sentence))
        if counted and count > MAX_WORDS:
            yield Finding(line, f"length {count}", said)


def _sentences(text: Text) -> Iterator[tuple[int, str]]:
    """Yield the sentences of a text without its code, each with the line that it begins in."""
    for first, lines in _paragraphs(text):
        joined = "\n".join(lines)
        bare = _CODE.sub(lambda match: "code" + "\n" * match[0].count("\n"), joined)
        bare = _URL.sub("link", bare)
        bare = _ABBREVIATION.sub(lambda match: match[0].replace(".", "\0"), bare)
        start = 0
        for end in [*(match.end() for match in _SENTENCE_END.finditer(bare)), len(bare)]:
            piece = bare[start:end]
            gap = len(piece) - len(piece.lstrip())
            line = first + bare.count("\n", 0, start + gap)
            start = end
            if piece.strip():
                yield line, " ".join(piece.split())


def _paragraphs(text: Text) -> Iterator[tuple[int, list[str]]]:
    """Yield blocks of lines that belong together, without code and without headings."""
    block: list[str] = []
    first = text.line
    for number, line in _without_code(text):
        stripped = line.strip()
        starts = bool(_ITEM.match(line)) or stripped.startswith(("|", "#", ">", ":"))
        field = _FIELD.match(line) if text.kind == "docstring" else None
        if block and (not stripped or starts or field or _HEADING.match(line)):
            yield first, block
            block = []
        if not stripped or _HEADING.match(line):
            continue
        if not block:
            first = number
        block.append(line[field.end() :] if field else _ITEM.sub("", line))
    if block:
        yield first, block


def _without_code(text: Text) -> Iterator[tuple[int, str]]:
    """Yield the numbered lines, with an empty one for each line of code."""
    fence = ""
    literal: int | None = None  # indentation of the line that opened a literal block
    in_doctest = in_indented = False
    was_blank = True
    for number, line in enumerate(text.lines, text.line):
        stripped = line.strip()
        indent = len(line) - len(line.lstrip())
        opened = _FENCE.match(line)
        if fence:
            if stripped.startswith(fence) and not stripped.strip(fence[0]):
                fence = ""
            yield number, ""
            continue
        if opened and text.kind != "comment":
            fence = opened["fence"]
            yield number, ""
            continue
        if literal is not None and stripped and indent <= literal:
            literal = None
        in_doctest = stripped.startswith(">>>") or (in_doctest and bool(stripped))
        if text.kind == "page":
            is_deep = line.startswith("    ") and (was_blank or in_indented)
            in_indented = is_deep or (in_indented and not stripped)
        was_blank = not stripped
        if literal is not None or in_doctest or (in_indented and text.kind == "page"):
            yield number, ""
            continue
        if stripped.endswith("::"):
            literal = indent
            line = line.rstrip()[:-1]
            if stripped == "::":
                line = ""
        yield number, line


def _texts_of_python(source: str) -> Iterator[Text]:
    yield from _docstrings(ast.parse(source))
    yield from _comments(source)


def _docstrings(tree: ast.Module) -> Iterator[Text]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for index, statement in enumerate(node.body):
            if not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)):
                continue
            if isinstance(value := statement.value.value, str):
                kind = "docstring" if index == 0 else "attribute"
                yield Text(statement.lineno, value.splitlines(), kind)


def _comments(source: str) -> Iterator[Text]:
    """Yield comments; those on lines of their own that follow each other are one text."""
    open_text: Text | None = None
    column = -1
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        line, at = token.start
        said = _DIRECTIVE.sub("", token.string).lstrip("# ")
        is_alone = not token.line[:at].strip()
        follows = open_text and line == open_text.line + len(open_text.lines)
        if open_text and follows and is_alone and at == column:
            open_text.lines.append(said)
            continue
        if open_text:
            yield open_text
        open_text, column = Text(line, [said], "comment"), at if is_alone else -1
    if open_text:
        yield open_text


def _texts_of_sql(source: str) -> Iterator[Text]:
    open_text: Text | None = None
    for number, line in enumerate(source.splitlines(), 1):
        code, dashes, said = line.partition("--")
        if not dashes:
            continue
        follows = open_text and number == open_text.line + len(open_text.lines)
        if open_text and follows and not code.strip():
            open_text.lines.append(said.strip())
            continue
        if open_text:
            yield open_text
        open_text = Text(number, [said.strip()], "comment")
    if open_text:
        yield open_text


def _texts_of_markdown(source: str) -> Iterator[Text]:
    yield Text(1, source.splitlines(), "page")


def files(paths: Iterable[Path] = ()) -> list[Path]:
    """Return the files below some paths that the rules apply to.

    Args:
        paths: Files and folders; by default the library and every Markdown page.
    """
    asked = list(paths)
    if not asked:
        pages = [ROOT / name for name in ("docs", "experiments", "analysis", "tests")]
        asked = [ROOT / "devtrack", *pages, *ROOT.glob("*.md")]
        found = {file for path in asked for file in _below(path)}
        library = ROOT / "devtrack"
        found = {file for file in found if file.suffix == ".md" or library in file.parents}
    else:
        found = {file for path in asked for file in _below(path)}
    return sorted(found)


def _below(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
        return
    for suffix in ("*.py", "*.sql", "*.md"):
        yield from (file for file in path.rglob(suffix) if "_build" not in file.parts)


def main(arguments: list[str]) -> int:
    """Print the findings; with ``--count`` how many there are per file and rule."""
    is_count = "--count" in arguments
    checked = files(Path(a).resolve() for a in arguments if a != "--count")
    total = 0
    for path in checked:
        found = check(path)
        total += len(found)
        name = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
        if is_count and found:
            kinds = Counter(finding.rule.split()[0] for finding in found)
            print(f"{name}: {len(found)} ({', '.join(f'{n} {k}' for k, n in kinds.items())})")
        elif not is_count:
            for line, rule, sentence in found:
                print(f"{name}:{line}: {rule}: {sentence}")
    print(f"{total} findings in {len(checked)} files", file=sys.stderr)
    return 1 if total else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
