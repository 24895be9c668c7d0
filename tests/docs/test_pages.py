"""The pages tell the truth: queries run, imports exist, rooms and links are there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import api_pages
import pytest
from repository_links import rewrite_links

import devtrack
from devtrack.store import open_store
from tests.test_architecture import ROOMS, ROOT_FILES

ROOT = Path(__file__).parents[2]
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "CONTRIBUTING.md", ROOT / "README.md"]
PAGES = [page for page in PAGES if "_build" not in page.parts]


def _blocks(language):
    return [
        pytest.param(block, id=f"{page.relative_to(ROOT)}: {block.splitlines()[0]}")
        for page in PAGES
        for block in re.findall(rf"```{language}\n(.*?)```", page.read_text(), flags=re.DOTALL)
    ]


@pytest.mark.parametrize("query", _blocks("sql"))
def test_every_query_runs(tmp_path, query):
    store = open_store(tmp_path / "runs", create=True)
    assert store.sql(query).fetchall() == []


@pytest.mark.parametrize("code", _blocks("python"))
def test_every_import_of_an_example_exists(code):
    tree = ast.parse(code)
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    exec(compile(ast.Module(imports, []), "<page>", "exec"), {})


def test_the_order_of_rooms_is_the_one_that_is_enforced():
    table = (ROOT / "docs" / "architecture.md").read_text().partition("## The map of folders")[0]
    rooms = re.findall(r"^\| `([\w.]+)/?` \|", table, flags=re.MULTILINE)
    assert rooms == [*(f"{name}.py" for name in ROOT_FILES), *ROOMS]


def test_every_exported_name_is_in_the_reference_once(tmp_path):
    api_pages.write_pages(tmp_path)
    pages = {path.stem: path.read_text() for path in tmp_path.glob("*.rst")}
    described = re.findall(
        r"^\.\. (?:auto|py:)(?!module)\w+:: (\S+)$", "\n".join(pages.values()), re.M
    )
    assert len(described) == len(set(described))
    for name in devtrack.__all__:
        assert re.search(rf"`{name} <\S+>`", pages["devtrack"]), name
        target = re.search(rf":py:obj:`{name} <(\S+)>`", pages["devtrack"])
        assert target is None or target[1] in described
    assert "devtrack.store.Writer" in described


def test_pages_of_rooms_that_are_gone_are_removed(tmp_path):
    (tmp_path / "devtrack.gone.rst").write_text("")
    (tmp_path / "index.md").write_text("")
    api_pages.write_pages(tmp_path)
    assert not (tmp_path / "devtrack.gone.rst").exists()
    assert (tmp_path / "index.md").exists()


@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("devtrack/store/schema.sql", "/sql.md"),
        ("docs/architecture.md", "/architecture.md"),
        ("experiments/bench/results/fidelity.md", "/results/fidelity.md"),
        ("LICENSE", "https://host/project/blob/main/LICENSE"),
        ("https://example.org/a", "https://example.org/a"),
        ("#attach", "#attach"),
    ],
)
def test_links_of_included_pages_work_on_the_site(link, target):
    found = rewrite_links(f"[text]({link})", folder=ROOT, repository="https://host/project")
    assert found == f"[text]({target})"


def test_the_gate_installs_as_the_readme_says():
    gate, readme = (ROOT / ".ci" / "run").read_text(), (ROOT / "README.md").read_text()
    (command,) = re.findall(r"^pip install -q (.+)$", gate, flags=re.MULTILINE)
    assert f"pip install {command}" in readme
