"""The API reference: one page for each public room, made from what the rooms export.

No name is listed by hand. A room is a package below ``devtrack`` with an ``__all__``; a public file
at the root is one from which ``devtrack`` exports a name. Everything is documented once, on the
page of the room that exports it, and linked from the page of ``devtrack``.
"""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from sphinx.application import Sphinx

import devtrack


class Page(NamedTuple):
    """A module and the names that it makes public."""

    module: ModuleType
    names: tuple[str, ...]

    @property
    def title(self) -> str:
        """Return the full name of the module."""
        return self.module.__name__


def rooms() -> list[Page]:
    """Return the packages below ``devtrack`` that export something, those of a room after it."""
    found = []
    for info in pkgutil.walk_packages(devtrack.__path__, "devtrack."):
        if info.ispkg and not any(part.startswith("_") for part in info.name.split(".")):
            module = import_module(info.name)
            if names := getattr(module, "__all__", ()):
                found.append(Page(module, tuple(names)))
    return sorted(found, key=lambda page: page.title)


def root_files() -> list[Page]:
    """Return the files beside ``devtrack/__init__.py`` that it exports a name from."""
    homes = {_home(name, value) for name, value in _exported(devtrack)}
    files = {info.name for info in pkgutil.iter_modules(devtrack.__path__) if not info.ispkg}
    modules = (import_module(home) for home in sorted(homes) if home.partition(".")[2] in files)
    return [Page(module, _public_names(module)) for module in modules]


def _public_names(module: ModuleType) -> tuple[str, ...]:
    if names := getattr(module, "__all__", ()):
        return tuple(names)
    own = (name for name, value in vars(module).items() if _home(name, value) == module.__name__)
    return tuple(name for name in own if not name.startswith("_"))


def _exported(module: ModuleType) -> Iterator[tuple[str, Any]]:
    yield from ((name, getattr(module, name)) for name in module.__all__)


def _home(name: str, value: Any) -> str:
    return value.__name__ if inspect.ismodule(value) else str(getattr(value, "__module__", ""))


def _is_shared(value: Any) -> bool:
    return inspect.isclass(value) or inspect.isroutine(value)


def write_pages(folder: Path) -> None:
    """Write the pages of the reference to a folder, and remove those of earlier builds."""
    pages = [*rooms(), *root_files()]
    place: dict[int, str] = {}  # where a class or function is documented
    wanted = {}
    for page in pages:
        wanted[page.title] = _page(page, place)
    links = {page.module: page.title for page in pages}
    overview = Page(devtrack, tuple(devtrack.__all__))
    wanted["devtrack"] = _overview(overview, place, links)
    for path in folder.glob("devtrack*.rst"):
        if path.stem not in wanted:
            path.unlink()
    for name, text in wanted.items():
        path = folder / f"{name}.rst"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def _page(page: Page, place: dict[int, str]) -> str:
    lines = [*_title(page.title), f".. automodule:: {page.title}", "   :no-members:", ""]
    lines += _described(page, page.names, place)
    return "\n".join(lines)


def _overview(page: Page, place: dict[int, str], links: dict[ModuleType, str]) -> str:
    """Return the page of ``devtrack``: a table of all names, then those that no room exports."""
    left = []
    for name, value in _exported(page.module):
        if not inspect.ismodule(value) and id(value) not in place:
            left.append(name)
    described = list(_described(page, left, place))
    lines = [*_title(page.title), f".. automodule:: {page.title}", "   :no-members:", ""]
    lines += [".. list-table::", "   :widths: 25 75", ""]
    for name, value in sorted(_exported(page.module)):
        if inspect.ismodule(value):
            target = f":doc:`{name} <{links[value]}>`" if value in links else f"``{name}``"
        else:
            target = f":py:obj:`{name} <{place[id(value)]}>`"
        lines += [f"   * - {target}", f"     - {_first_line(value)}"]
    return "\n".join([*lines, "", *described])


def _described(page: Page, names: Iterable[str], place: dict[int, str]) -> Iterator[str]:
    links = []
    for name in sorted(names):
        value, path = getattr(page.module, name), f"{page.title}.{name}"
        if inspect.ismodule(value):
            continue
        if _is_shared(value) and id(value) in place:
            links.append(f"* :py:obj:`{name} <{place[id(value)]}>`")
            continue
        if _is_shared(value):
            place[id(value)] = path
        yield from (f".. {_directive(value)}:: {path}", *_type(value), "")
    if links:
        yield from ("Documented elsewhere:", "", *links, "")


def _directive(value: Any) -> str:
    if inspect.isclass(value):
        return "autoexception" if issubclass(value, BaseException) else "autoclass"
    if inspect.isroutine(value):
        return "autofunction"
    return "py:data" if _is_instance(value) else "autodata"


def _is_instance(value: Any) -> bool:
    """Say whether it is an object of a class that has a docstring of its own: not the object's."""
    return type(value).__module__ not in ("builtins", "types", "typing")


def _type(value: Any) -> list[str]:
    is_bare = not inspect.isclass(value) and not inspect.isroutine(value) and _is_instance(value)
    return [f"   :type: {type(value).__module__}.{type(value).__qualname__}"] if is_bare else []


def _title(text: str) -> list[str]:
    return [text, "=" * len(text), ""]


def _first_line(value: Any) -> str:
    return (inspect.getdoc(value) or "").split("\n\n")[0].replace("\n", " ")


def _skip(_app: Sphinx, _what: str, _name: str, value: Any, skip: bool, _options: Any) -> bool:
    """Leave out fields of named tuples: their class describes them."""
    return skip or "Alias for field number" in (getattr(value, "__doc__", None) or "")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    app.connect("builder-inited", lambda app: write_pages(Path(app.srcdir) / "api"))
    app.connect("autodoc-skip-member", _skip)
    return {"parallel_read_safe": True}
