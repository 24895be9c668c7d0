"""The language of the project: the rules of ``tests/prose.py`` by example, and the spelling."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests import prose

_25_WORDS = "Return " + " ".join(["word"] * 24)
_26_WORDS = f"{_25_WORDS} word"


def _rules(found):
    return [finding.rule for finding in found]


@pytest.mark.parametrize("path", prose.files(), ids=lambda path: str(path.relative_to(prose.ROOT)))
def test_language_follows_the_rules(path):
    found = [f"{line}: {rule}: {sentence}" for line, rule, sentence in prose.check(path)]
    assert found == []


def test_words_are_spelt_as_in_a_dictionary():
    names = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs", "devtrack", "experiments")
    paths = [name for name in (*names, "analysis", "tests") if (prose.ROOT / name).exists()]
    command = [sys.executable, "-m", "codespell_lib", *paths]  # settings stand in pyproject.toml
    done = subprocess.run(command, cwd=prose.ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


@pytest.mark.parametrize(
    ("sentence", "rule"),
    [
        ("The bias is .5 of the value.", "decimal"),
        ("It lies between -.5 and 1.", "decimal"),
        ("It is 3.2 ± .1 here.", "decimal"),
        ("Return what of the series changed.", "phrase 'what of'"),
        ("Lower it, lest it overflows.", "phrase 'lest'"),
        ("Large batches bear a larger lr.", "phrase 'bear'"),
        ("What it bears is small.", "phrase 'bear'"),
        ("The spike is put aside.", "phrase 'put aside'"),
        ("The reader is told.", "phrase 'told'"),
        ("Shift it by so many points.", "phrase 'by so many'"),
        ("A draw is met on a batch.", "phrase 'is met'"),
    ],
)
def test_each_phrase_and_decimal_is_found_in_docstrings_comments_and_pages(sentence, rule):
    docstring = f"Return the value.\n\n{sentence}\n"
    assert _rules(prose.check_docstring(docstring)) == [rule]
    assert _rules(prose.check_comment(sentence)) == [rule]
    assert _rules(prose.check_markdown(f"# Title\n\n{sentence}\n")) == [rule]


@pytest.mark.parametrize(
    "sentence",
    [
        "The bias is 0.5 of the value.",
        "See version 2.5, eq. 3.1, and arXiv:2308.12108.",
        "The file ends with `.5` or with ``.25``.",
        "Take the bearing of the blest, and say it foretold.",
        "Both runs met the same batches.",
    ],
)
def test_plain_sentences_are_left_alone(sentence):
    assert prose.check_docstring(f"Return the value.\n\n{sentence}\n") == []
    assert prose.check_comment(sentence) == []
    assert prose.check_markdown(sentence) == []


def test_a_sentence_of_a_docstring_has_at_most_25_words():
    assert prose.check_docstring(f"{_25_WORDS}.") == []
    assert _rules(prose.check_docstring(f"{_26_WORDS}.")) == ["length 26"]


def test_sentences_are_split_at_their_ends_only():
    assert prose.check_docstring(f"{_25_WORDS}. {_25_WORDS}.") == []
    assert prose.check_docstring(f"Return it.\n\n{_25_WORDS}\n\n{_25_WORDS}.") == []
    assert prose.check_docstring(f"Return it.\n\n- {_25_WORDS}\n- {_25_WORDS}") == []
    abbreviated = _26_WORDS.replace("word word", "e.g. Word", 1)
    assert _rules(prose.check_docstring(f"{abbreviated}.")) == ["length 26"]
    assert _rules(prose.check_docstring(f"Return it.\n\nUp to 2.5 {_26_WORDS}.")) == ["length 28"]


def test_what_is_no_prose_has_no_length():
    many = " ".join(["word"] * 40)
    for block in (
        f">>> {many}\n{many}\n",
        f"An example::\n\n    {many}\n",
        f"```python\n{many}\n```\n",
        f"| {many} | {many} |\n",
        f"It is ``{many}``.\n",
    ):
        assert prose.check_docstring(f"Return it.\n\n{block}") == [], block
    after = f"Return it.\n\nExample:\n    >>> f(1)\n    2\n\n{_26_WORDS}.\n"
    assert _rules(prose.check_docstring(after)) == ["length 26"]


def test_the_name_of_an_argument_is_no_word_of_its_sentence():
    assert prose.check_docstring(f"Return it.\n\nArgs:\n    value: {_25_WORDS}.\n") == []
    found = prose.check_docstring(f"Return it.\n\nArgs:\n    a, b: {_26_WORDS}.\n    c: Other.\n")
    assert [(finding.line, finding.rule) for finding in found] == [(4, "length 26")]


@pytest.mark.parametrize("summary", ["Return it", "Return what this\nneeds.", "Is it done?", ""])
def test_the_first_line_of_a_docstring_ends_with_a_period(summary):
    assert "summary" in _rules(prose.check_docstring(summary))


def test_code_is_searched_for_docstrings_and_comments(tmp_path):
    path = tmp_path / "code.py"
    path.write_text(
        '"""Say nothing."""\n'
        "WIDTH = 1.0\n"
        '"""A width of .5 at most; this line need not end with a period"""\n'
        "class Net:\n"
        '    """A net"""\n'
        "    def run(self):\n"
        '        name = "told .5"  # noqa: E501  lest it breaks\n'
        "        # two lines that are told\n"
        "        # as one\n"
        "        return name\n"
    )
    assert [(line, rule) for line, rule, _ in prose.check(path)] == [
        (3, "decimal"),
        (5, "summary"),
        (7, "phrase 'lest'"),
        (8, "phrase 'told'"),
    ]


def test_comments_of_sql_are_searched(tmp_path):
    path = tmp_path / "schema.sql"
    path.write_text("-- Two lines\n-- are told.\nSELECT .5;  -- a share of .5\n")
    assert [(line, rule) for line, rule, _ in prose.check(path)] == [
        (1, "phrase 'told'"),
        (3, "decimal"),
    ]


def test_code_of_a_page_is_left_out_and_its_text_is_not():
    page = "Text.\n\n    told .5\n\n```sql\nSELECT .5 -- told\n```\n\n| a | .5 |\n|---|---|\n"
    assert [(line, rule) for line, rule, _ in prose.check_markdown(page)] == [(9, "decimal")]


def test_the_command_prints_place_rule_and_sentence(tmp_path, capsys):
    path = tmp_path / "page.md"
    path.write_text("A reader is told.\n")
    assert prose.main([str(path)]) == 1
    assert capsys.readouterr().out == f"{path}:1: phrase 'told': A reader is told.\n"
    assert prose.main([str(path), "--count"]) == 1
    assert capsys.readouterr().out == f"{path}: 1 (1 phrase)\n"
    path.write_text("A reader learns.\n")
    assert prose.main([str(path)]) == 0
