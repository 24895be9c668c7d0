"""The plan of the house, enforced: imports point one way, importing is free, names are exported."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import devtrack

ROOT = Path(devtrack.__file__).parent

# A file imports only from lines above its own.
LAYERS = [
    "errors",
    "rows",
    "numerals",
    "schedules",
    "provenance",
    "recipe",
    "memory",
    "store",
    "lineage",
    "model_state",
    "data",
    "diagnostics",
    "sampling",
    "metrics",
    "evaluate",
    "held_snapshot",
    "observer",
    "changepoints",
    "actions",
    "invariants",
    "violations",
    "monitor",
    "trainer_facts",
    "training_data",
    "guard",
    "arguments",
    "tracker_settings",
    "reporter",
    "batch_collector",
    "objective_check",
    "session",
    "ranks",
    "training_steps",
    "tracker",
    "transitions",
    "judged",
    "recurrence",
    "lead_time",
    "plots",
    "report",
    "demo",
    "cli",
]

SOLE_IMPORTERS = {
    "devinterp": {"sampling"},
    "duckdb": {"store"},
    "lightning": {"tracker", "demo"},
}


def _layer(path: Path) -> str:
    relative = path.relative_to(ROOT)
    return relative.parts[0].removesuffix(".py")


def _imports(path: Path):
    """Yield the modules a file imports at any depth, type-checking blocks left out."""
    tree = ast.parse(path.read_text())
    skipped = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "devtrack":
                yield from (f"devtrack.{alias.name}" for alias in node.names)
            else:
                yield node.module


FILES = sorted(p for p in ROOT.rglob("*.py") if p != ROOT / "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_one_way(path):
    own = _layer(path)
    assert own in LAYERS, f"{own} has no line in the plan"
    for module in _imports(path):
        if module.startswith("devtrack."):
            other = module.split(".")[1]
            assert LAYERS.index(other) <= LAYERS.index(own), f"{path}: imports {module}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_heavy_libraries_have_one_door(path):
    for module in _imports(path):
        package = module.split(".")[0]
        assert _layer(path) in SOLE_IMPORTERS.get(package, {_layer(path)}), module
        assert module != "matplotlib.pyplot"


def test_no_file_holds_two_ideas_by_its_length():
    assert {p.name: n for p in FILES if (n := len(p.read_text().splitlines())) > 400} == {}


@pytest.mark.parametrize(
    "module", ["devtrack", "devtrack.schedules", "devtrack.rows", "devtrack.store", "devtrack.cli"]
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
