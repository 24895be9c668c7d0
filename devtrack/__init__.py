"""devtrack watches a neural network while it trains and finds when its inner structure changes.

Example:
    ::

        from devtrack import Tracker, open_store

        Trainer(callbacks=[Tracker("runs")]).fit(module)
        open_store("runs").sql("FROM llc").df()
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from devtrack import plots, schedules
    from devtrack.errors import DevtrackError
    from devtrack.metrics.function import Function
    from devtrack.metrics.llc import LLC
    from devtrack.metrics.loss import Loss
    from devtrack.metrics.metric import Metric, Subject
    from devtrack.metrics.probes import LinearProbe
    from devtrack.metrics.weights import WeightNorm
    from devtrack.rows import Clock, Row, Status
    from devtrack.store import Store, open_store
    from devtrack.tracker import Tracker
    from devtrack.transitions import find_transitions

# Loaded on first use: `import devtrack` and `devtrack sql` need neither torch nor lightning.
_HOMES = {
    "Clock": "devtrack.rows",
    "DevtrackError": "devtrack.errors",
    "Function": "devtrack.metrics.function",
    "LLC": "devtrack.metrics.llc",
    "LinearProbe": "devtrack.metrics.probes",
    "Loss": "devtrack.metrics.loss",
    "Metric": "devtrack.metrics.metric",
    "Row": "devtrack.rows",
    "Status": "devtrack.rows",
    "Store": "devtrack.store",
    "Subject": "devtrack.metrics.metric",
    "Tracker": "devtrack.tracker",
    "WeightNorm": "devtrack.metrics.weights",
    "find_transitions": "devtrack.transitions",
    "open_store": "devtrack.store",
    "plots": "devtrack.plots",
    "schedules": "devtrack.schedules",
}

__all__ = [
    "LLC",
    "Clock",
    "DevtrackError",
    "Function",
    "LinearProbe",
    "Loss",
    "Metric",
    "Row",
    "Status",
    "Store",
    "Subject",
    "Tracker",
    "WeightNorm",
    "find_transitions",
    "open_store",
    "plots",
    "schedules",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'devtrack' has no attribute {name!r}")
    home = import_module(_HOMES[name])
    return home if _HOMES[name].rpartition(".")[2] == name else getattr(home, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
