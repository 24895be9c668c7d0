"""The order of rooms and files, enforced: imports point one way, importing is free."""

import ast
import graphlib
import importlib
import itertools
import re
import subprocess
import sys
from pathlib import Path

import pytest

import devtrack

ROOT = Path(devtrack.__file__).parent
TESTS = Path(__file__).parent

ROOT_FILES = ["errors", "_checks", "records", "series", "schedules"]
"""The words that all rooms share, beside ``__init__`` and ``__main__``, in order."""

ROOMS = [
    "store",
    "model_state",
    "data",
    "changepoints",
    "transitions",
    "monitoring",
    "sampling",
    "metrics",
    "tracking",
    "plots",
    "report",
    "cli",
]
"""A room imports only from itself, from the rooms above it and from the root files."""

SOLE_IMPORTERS = {
    "devinterp": {"sampling"},
    "duckdb": {"store"},
    "lightning": {"tracking", "cli"},
}

TYPE_ALIASES = {"Array", "Floats"}

TEXTS = {".py", ".md", ".toml", ".sql", ".yml", ".yaml"}

MAX_ROOMS, MAX_ROOT_FILES, MAX_LINES, MAX_CONSTANTS = 12, 7, 400, 5


def _modules() -> dict[str, Path]:
    """Return every module of the package by its dotted name."""
    modules = {}
    for path in ROOT.rglob("*.py"):
        parts = ("devtrack", *path.relative_to(ROOT).with_suffix("").parts)
        modules[".".join(parts).removesuffix(".__init__")] = path
    return modules


MODULES = _modules()


def _imports(path: Path):
    """Yield what a file imports at any depth; imports under TYPE_CHECKING count."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in MODULES else node.module


def _room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def _violation(importer: str, imported: str) -> bool:
    """Say whether an import points against the order of rooms."""
    order = [*ROOT_FILES, *ROOMS]
    own, other = _room(importer), _room(imported)
    if own in ("", "__main__"):  # the public surface and the door to the command line
        return False
    return order.index(other) > order.index(own)


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_point_one_way(module):
    own = _room(module)
    assert own in ("", "__main__", *ROOT_FILES, *ROOMS), f"{own} has no place in the order"
    upward = [m for m in _imports(MODULES[module]) if _room(m) and m.startswith("devtrack.")]
    assert [m for m in upward if _violation(module, m)] == []


def test_an_import_against_the_order_is_a_violation():
    assert _violation("devtrack.store.store", "devtrack.tracking.session")
    assert not _violation("devtrack.tracking.session", "devtrack.store.store")


def test_no_two_files_import_each_other_even_through_others():
    graph = {
        module: {m for m in _imports(path) if m in MODULES and m != module}
        for module, path in MODULES.items()
        if module != "devtrack"  # its names are loaded on first use
    }
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_rooms_and_root_files_are_few():
    rooms = {path.name for path in ROOT.iterdir() if (path / "__init__.py").exists()}
    files = {path.stem for path in ROOT.glob("*.py")}
    assert rooms == set(ROOMS) and len(rooms) <= MAX_ROOMS
    assert files == {"__init__", "__main__", *ROOT_FILES} and len(files) <= MAX_ROOT_FILES


@pytest.mark.parametrize("module", sorted(MODULES))
def test_heavy_libraries_have_one_door(module):
    for imported in _imports(MODULES[module]):
        package = imported.split(".")[0]
        assert _room(module) in SOLE_IMPORTERS.get(package, {_room(module)}), imported
        assert not imported.startswith("matplotlib.pyplot")


def test_no_file_holds_two_ideas_by_its_length():
    lengths = {name: len(path.read_text().splitlines()) for name, path in MODULES.items()}
    assert {name: n for name, n in lengths.items() if n > MAX_LINES} == {}


def _definitions(path: Path):
    """Yield the public names that a file defines at its top level."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names = [node.name]
        elif isinstance(node, ast.Assign):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names = [node.target.id]
        else:
            names = []
        yield from (name for name in names if not name.startswith("_"))


def _loose_numbers(path: Path) -> list[str]:
    """Return the upper-case names of a file whose value is made of numbers alone."""
    found = []
    for node in ast.parse(path.read_text()).body:
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            continue
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        names = [n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)]
        leaves = [n.value for n in ast.walk(node.value) if isinstance(n, ast.Constant)]
        if leaves and all(isinstance(leaf, int | float) for leaf in leaves):
            found += [name for name in names if name == name.upper()]
    return found


def test_tuned_numbers_are_fields_of_a_configuration():
    crowded = {name: _loose_numbers(path) for name, path in MODULES.items()}
    assert {name: n for name, n in crowded.items() if len(n) > MAX_CONSTANTS} == {}


def test_every_part_of_the_detector_has_its_tests():
    parts = (ROOT / "changepoints").rglob("[!_]*.py"), (ROOT / "changepoints").rglob("_[!_]*.py")
    wanted = {
        path.relative_to(ROOT).with_name(f"test_{path.stem.removeprefix('_')}.py")
        for path in itertools.chain(*parts)
    }
    there = {path.relative_to(TESTS) for path in (TESTS / "changepoints").rglob("test_*.py")}
    assert wanted - there == set()


def test_no_two_rooms_give_one_name_to_different_things():
    rooms: dict[str, set[str]] = {}
    for module, path in MODULES.items():
        if _room(module) not in ("", "__main__", "cli"):  # a command is named as what it runs
            for name in _definitions(path):
                rooms.setdefault(name, set()).add(_room(module))
    twice = {name: sorted(where) for name, where in rooms.items() if len(where) > 1}
    assert twice.keys() <= TYPE_ALIASES, twice


def test_sql_stands_in_the_store_only():
    """But for the query of ``devtrack sql``, which is the user's own."""
    asking = {
        module
        for module, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "sql"
        and _room(module) != "store"
    }
    assert asking == {"devtrack.cli.sql"}


def _public_modules():
    """Yield the modules whose whole path is public, but for the root files and the commands."""
    for module in MODULES:
        parts = module.split(".")
        if len(parts) > 2 and _room(module) != "cli" and not any(p[0] == "_" for p in parts):
            yield module


@pytest.mark.parametrize("module", sorted(_public_modules()))
def test_a_public_module_defines_what_its_room_exports(module):
    """A module from which its room exports nothing is private: it has an underscore."""
    if MODULES[module].name == "__init__.py":
        return
    own = set(_definitions(MODULES[module]))
    exported: set[str] = set()
    package = module.rpartition(".")[0]
    while package != "devtrack":  # of a room within a room, either may export it
        room = importlib.import_module(package)
        exported |= set(getattr(room, "__all__", ()))
        package = package.rpartition(".")[0]
    assert own & exported or module.rpartition(".")[2] in exported


@pytest.mark.parametrize(
    "module",
    ["devtrack", "devtrack.schedules", "devtrack.records", "devtrack.store", "devtrack.cli"],
)
def test_importing_is_free(module):
    code = (
        f"import sys, {module}; "
        "print([m for m in ('torch', 'lightning', 'sklearn', 'matplotlib', 'scipy', 'pandas') "
        "if m in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.stdout.strip() == "[]", answer.stderr


def test_what_is_listed_is_what_is_exported():
    assert set(devtrack.__all__) == set(devtrack._HOMES)
    for name in devtrack.__all__:
        assert getattr(devtrack, name) is not None, name
    assert set(devtrack.__all__) <= set(dir(devtrack))
    with pytest.raises(AttributeError, match="no attribute 'Trakcer'"):
        _ = devtrack.Trakcer


OUTSIDE = re.compile(r"\.\./shared|parents\[3\]")
"""A folder beside the checkout, by its name or by its place above a test or a bench."""


def test_nothing_reads_a_folder_beside_the_checkout():
    places = [ROOT, *(ROOT.parent / name for name in ("tests", "experiments", "analysis", "docs"))]
    files = [path for place in places for path in place.rglob("*") if path.suffix in TEXTS]
    files = [path for path in (*files, *ROOT.parent.glob("*.*")) if path.suffix in TEXTS]
    reading = [p for p in files if p != Path(__file__) and OUTSIDE.search(p.read_text())]
    assert reading == []
    assert OUTSIDE.search('"../shared/runs"') and OUTSIDE.search("Path(__file__).parents[3]")
