"""One page for each file of ``experiments/bench/results``: what the benches measured."""

from __future__ import annotations

from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "experiments" / "bench" / "results"


def write_pages(folder: Path) -> None:
    """Write a page that includes each result, and remove those of results that are gone."""
    wanted = {path.name: path for path in sorted(RESULTS.glob("*.md"))}
    for path in folder.glob("*.md"):
        if path.name not in wanted and path.name != "index.md":
            path.unlink()
    for name in wanted:
        text = f"```{{include}} ../../{RESULTS.relative_to(ROOT).as_posix()}/{name}\n```\n"
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    app.connect("builder-inited", lambda app: write_pages(Path(app.srcdir) / "results"))
    return {"parallel_read_safe": True}
