"""devtrack watches a neural network while it trains and finds when its inner structure changes.

Example:
    ::

        from devtrack import Tracker, open_store

        Trainer(callbacks=[Tracker("runs")]).fit(module)
        open_store("runs").sql("FROM llc").df()
"""

import ast
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

# The public surface, in one list: a type checker reads it, and so does `_exports`. Each name is
# loaded on first use, since `devtrack sql` needs neither torch nor lightning. The metrics stand in
# `devtrack.metrics`.
if TYPE_CHECKING:
    from devtrack import plots as plots
    from devtrack import schedules as schedules
    from devtrack.changepoints import detect as detect
    from devtrack.data import DataWarning as DataWarning
    from devtrack.data import fixed_batches as fixed_batches
    from devtrack.errors import ConfigError as ConfigError
    from devtrack.errors import DataError as DataError
    from devtrack.errors import DevtrackError as DevtrackError
    from devtrack.errors import MetricError as MetricError
    from devtrack.errors import QueryError as QueryError
    from devtrack.errors import SnapshotError as SnapshotError
    from devtrack.errors import StoreError as StoreError
    from devtrack.errors import UnknownRunError as UnknownRunError
    from devtrack.metrics import *  # noqa: F403 - the list of metrics stands there, once
    from devtrack.monitoring import Call as Call
    from devtrack.monitoring import Densify as Densify
    from devtrack.monitoring import Invariant as Invariant
    from devtrack.monitoring import Log as Log
    from devtrack.monitoring import Monitor as Monitor
    from devtrack.monitoring import SaveCheckpoint as SaveCheckpoint
    from devtrack.monitoring import StopTraining as StopTraining
    from devtrack.records import Event as Event
    from devtrack.records import Row as Row
    from devtrack.records import RunInfo as RunInfo
    from devtrack.records import Status as Status
    from devtrack.records import TrainingProgress as TrainingProgress
    from devtrack.report import render_report as render_report
    from devtrack.sampling import SamplerConfig as SamplerConfig
    from devtrack.sampling import calibrate as calibrate
    from devtrack.sampling import estimate as estimate
    from devtrack.sampling import sample as sample
    from devtrack.series import ConfigEvent as ConfigEvent
    from devtrack.series import Move as Move
    from devtrack.series import Series as Series
    from devtrack.series import Transition as Transition
    from devtrack.store import Store as Store
    from devtrack.store import StoreWarning as StoreWarning
    from devtrack.store import open_store as open_store
    from devtrack.tracking import Tracker as Tracker
    from devtrack.tracking import TrackerWarning as TrackerWarning
    from devtrack.transitions import find_transitions as find_transitions


def _exports(file: str) -> dict[str, str]:
    """Return the home of every name that an ``__init__`` file imports from devtrack."""
    homes: dict[str, str] = {}
    for node in ast.walk(ast.parse(Path(file).read_text("utf-8"))):
        if not (isinstance(node, ast.ImportFrom) and (node.module or "").startswith("devtrack")):
            continue
        for alias in node.names:
            if alias.name == "*":
                package = str(node.module).removeprefix("devtrack.").replace(".", "/")
                homes |= _exports(str(Path(__file__).with_name(package) / "__init__.py"))
            else:
                homes[alias.name] = str(node.module)
    return homes


_HOMES = _exports(__file__)
__all__ = sorted(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]
# help() shows them before it lists the rooms
__doc__ = f"{__doc__}\nPublic names:\n    {', '.join(__all__)}\n"


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("devtrack")
    if name not in _HOMES:
        raise AttributeError(f"module 'devtrack' has no attribute {name!r}")
    home = _HOMES[name]
    return (
        import_module(f"{home}.{name}")
        if home == "devtrack"
        else getattr(import_module(home), name)
    )


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__, "__version__"])
