"""Links of an included page of the repository, such as the README, made right for the site.

In a checkout they name files. A page of the site becomes a link to it, ``schema.sql`` one to the
SQL reference, and every other file one to the repository.
"""

from __future__ import annotations

import re
from importlib.metadata import metadata
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[2]

_LINK = re.compile(r"(?<=\]\()(?!https?:|mailto:|#|/)(?P<path>[^)\s]+)(?=\))")


def rewrite_links(text: str, *, folder: Path, repository: str) -> str:
    """Return Markdown whose links to files work on the site.

    Args:
        text: Markdown of a page outside ``docs``.
        folder: Folder of that page, which its links start from.
        repository: Address of the repository.
    """

    def target(match: re.Match[str]) -> str:
        path = (folder / match["path"]).resolve().relative_to(ROOT)
        if path.name == "schema.sql":
            return "/sql.md"
        if path.parent.name == "results" and path.suffix == ".md":
            return f"/results/{path.name}"
        if path.parts[0] == "docs":
            return f"/{path.relative_to('docs').as_posix()}"
        return f"{repository}/blob/main/{path.as_posix()}"

    return _LINK.sub(target, text)


def _repository() -> str:
    urls = dict(url.split(", ", 1) for url in metadata("devtrack").get_all("Project-URL") or [])
    return urls["Repository"]


def _rewrite(app: Sphinx, path: Path, _docname: str, content: list[str]) -> None:
    folder, docs = (Path(app.srcdir) / path).resolve().parent, Path(app.srcdir).resolve()
    if not folder.is_relative_to(docs):
        content[0] = rewrite_links(content[0], folder=folder, repository=_repository())


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    app.connect("include-read", _rewrite)
    return {"parallel_read_safe": True}
