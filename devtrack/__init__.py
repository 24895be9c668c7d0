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
    from devtrack.invariants import Invariant
    from devtrack.metrics.ablation import Ablation
    from devtrack.metrics.anomaly import Anomalies
    from devtrack.metrics.behaviour import Behaviour
    from devtrack.metrics.composition import HeadComposition
    from devtrack.metrics.concepts import ConceptDirection
    from devtrack.metrics.context import ContextLoss
    from devtrack.metrics.function import Function
    from devtrack.metrics.heads import HeadScores
    from devtrack.metrics.influence import BayesianInfluence
    from devtrack.metrics.llc import LLC
    from devtrack.metrics.loss import Loss
    from devtrack.metrics.metric import Metric, Subject
    from devtrack.metrics.ngrams import NGramScores
    from devtrack.metrics.patching import ActivationPatching
    from devtrack.metrics.probes import LinearProbe
    from devtrack.metrics.regression import RegressionProbe
    from devtrack.metrics.representation import Dimensionality
    from devtrack.metrics.similarity import CKA
    from devtrack.metrics.spectra import WeightSpectrum
    from devtrack.metrics.susceptibility import Susceptibility
    from devtrack.metrics.units import IdleUnits
    from devtrack.metrics.weights import WeightNorm
    from devtrack.monitor import Monitor
    from devtrack.rows import Clock, Row, Status
    from devtrack.sampling.calibration import calibrate
    from devtrack.store import Store, open_store
    from devtrack.tracker import Tracker
    from devtrack.transitions import find_transitions

# Loaded on first use: `import devtrack` and `devtrack sql` need neither torch nor lightning.
_HOMES = {
    "Ablation": "devtrack.metrics.ablation",
    "ActivationPatching": "devtrack.metrics.patching",
    "Anomalies": "devtrack.metrics.anomaly",
    "BayesianInfluence": "devtrack.metrics.influence",
    "Behaviour": "devtrack.metrics.behaviour",
    "CKA": "devtrack.metrics.similarity",
    "Clock": "devtrack.rows",
    "ConceptDirection": "devtrack.metrics.concepts",
    "ContextLoss": "devtrack.metrics.context",
    "DevtrackError": "devtrack.errors",
    "Dimensionality": "devtrack.metrics.representation",
    "Function": "devtrack.metrics.function",
    "HeadComposition": "devtrack.metrics.composition",
    "HeadScores": "devtrack.metrics.heads",
    "IdleUnits": "devtrack.metrics.units",
    "Invariant": "devtrack.invariants",
    "LLC": "devtrack.metrics.llc",
    "LinearProbe": "devtrack.metrics.probes",
    "Loss": "devtrack.metrics.loss",
    "Metric": "devtrack.metrics.metric",
    "NGramScores": "devtrack.metrics.ngrams",
    "RegressionProbe": "devtrack.metrics.regression",
    "Monitor": "devtrack.monitor",
    "Row": "devtrack.rows",
    "Status": "devtrack.rows",
    "Store": "devtrack.store",
    "Subject": "devtrack.metrics.metric",
    "Susceptibility": "devtrack.metrics.susceptibility",
    "Tracker": "devtrack.tracker",
    "WeightNorm": "devtrack.metrics.weights",
    "WeightSpectrum": "devtrack.metrics.spectra",
    "calibrate": "devtrack.sampling.calibration",
    "find_transitions": "devtrack.transitions",
    "open_store": "devtrack.store",
    "plots": "devtrack.plots",
    "schedules": "devtrack.schedules",
}

__all__ = [
    "CKA",
    "LLC",
    "Ablation",
    "ActivationPatching",
    "Anomalies",
    "BayesianInfluence",
    "Behaviour",
    "Clock",
    "ConceptDirection",
    "ContextLoss",
    "DevtrackError",
    "Dimensionality",
    "Function",
    "HeadComposition",
    "HeadScores",
    "IdleUnits",
    "Invariant",
    "LinearProbe",
    "Loss",
    "Metric",
    "Monitor",
    "NGramScores",
    "RegressionProbe",
    "Row",
    "Status",
    "Store",
    "Subject",
    "Susceptibility",
    "Tracker",
    "WeightNorm",
    "WeightSpectrum",
    "calibrate",
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
