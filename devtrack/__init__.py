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
    from devtrack.metrics._spectra import WeightSpectrum
    from devtrack.metrics.anomaly import AnomalyRate
    from devtrack.metrics.attention.composition import HeadComposition
    from devtrack.metrics.attention.head_scores import HeadScores
    from devtrack.metrics.behavior import BehaviorSuite
    from devtrack.metrics.function import FunctionMetric
    from devtrack.metrics.interventions.ablation import Ablation
    from devtrack.metrics.interventions.activation_patching import ActivationPatching
    from devtrack.metrics.language.bayesian_influence import BayesianInfluence
    from devtrack.metrics.language.in_context_loss import InContextLoss
    from devtrack.metrics.language.ngrams import NGramScores
    from devtrack.metrics.language.susceptibility import Susceptibility
    from devtrack.metrics.llc import LLC
    from devtrack.metrics.loss import Loss
    from devtrack.metrics.metric import Metric, Subject
    from devtrack.metrics.probing.concept_direction import ConceptDirection
    from devtrack.metrics.probing.linear import LinearProbe
    from devtrack.metrics.probing.regression import RegressionProbe
    from devtrack.metrics.representation.cka import CKA
    from devtrack.metrics.representation.dimensionality import Dimensionality
    from devtrack.metrics.representation.idle_units import UnitActivity
    from devtrack.metrics.weights import WeightNorm
    from devtrack.monitoring.invariants import Invariant
    from devtrack.monitoring.monitor import Monitor
    from devtrack.records import Row, Status, TrainingProgress
    from devtrack.sampling.calibration._calibrate import calibrate
    from devtrack.store import Store, open_store
    from devtrack.tracking.lightning_tracker import Tracker
    from devtrack.transitions.detection import find_transitions

# Loaded on first use: `import devtrack` and `devtrack sql` need neither torch nor lightning.
_HOMES = {
    "Ablation": "devtrack.metrics.interventions.ablation",
    "ActivationPatching": "devtrack.metrics.interventions.activation_patching",
    "AnomalyRate": "devtrack.metrics.anomaly",
    "BayesianInfluence": "devtrack.metrics.language.bayesian_influence",
    "BehaviorSuite": "devtrack.metrics.behavior",
    "CKA": "devtrack.metrics.representation.cka",
    "TrainingProgress": "devtrack.records",
    "ConceptDirection": "devtrack.metrics.probing.concept_direction",
    "InContextLoss": "devtrack.metrics.language.in_context_loss",
    "DevtrackError": "devtrack.errors",
    "Dimensionality": "devtrack.metrics.representation.dimensionality",
    "FunctionMetric": "devtrack.metrics.function",
    "HeadComposition": "devtrack.metrics.attention.composition",
    "HeadScores": "devtrack.metrics.attention.head_scores",
    "UnitActivity": "devtrack.metrics.representation.idle_units",
    "Invariant": "devtrack.monitoring.invariants",
    "LLC": "devtrack.metrics.llc",
    "LinearProbe": "devtrack.metrics.probing.linear",
    "Loss": "devtrack.metrics.loss",
    "Metric": "devtrack.metrics.metric",
    "NGramScores": "devtrack.metrics.language.ngrams",
    "RegressionProbe": "devtrack.metrics.probing.regression",
    "Monitor": "devtrack.monitoring.monitor",
    "Row": "devtrack.records",
    "Status": "devtrack.records",
    "Store": "devtrack.store",
    "Subject": "devtrack.metrics.metric",
    "Susceptibility": "devtrack.metrics.language.susceptibility",
    "Tracker": "devtrack.tracking.lightning_tracker",
    "WeightNorm": "devtrack.metrics.weights",
    "WeightSpectrum": "devtrack.metrics._spectra",
    "calibrate": "devtrack.sampling.calibration._calibrate",
    "find_transitions": "devtrack.transitions.detection",
    "open_store": "devtrack.store",
    "plots": "devtrack.plots",
    "schedules": "devtrack.schedules",
}

__all__ = [
    "CKA",
    "LLC",
    "Ablation",
    "ActivationPatching",
    "AnomalyRate",
    "BayesianInfluence",
    "BehaviorSuite",
    "ConceptDirection",
    "DevtrackError",
    "Dimensionality",
    "FunctionMetric",
    "HeadComposition",
    "HeadScores",
    "InContextLoss",
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
    "TrainingProgress",
    "UnitActivity",
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
