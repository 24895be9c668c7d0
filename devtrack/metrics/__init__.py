"""Metrics: what can be measured on a snapshot.

A metric of your own is any object with a ``name`` and a ``compute(subject)`` that yields ``Row``s;
see ``Metric`` and ``Subject``.
"""

from devtrack.metrics._spectra import WeightSpectrum as WeightSpectrum
from devtrack.metrics.anomaly import AnomalyRate as AnomalyRate
from devtrack.metrics.attention.composition import HeadComposition as HeadComposition
from devtrack.metrics.attention.composition import HeadWeights as HeadWeights
from devtrack.metrics.attention.head_scores import HeadScores as HeadScores
from devtrack.metrics.behavior import BehaviorSuite as BehaviorSuite
from devtrack.metrics.function import FunctionMetric as FunctionMetric
from devtrack.metrics.interventions.ablation import Ablation as Ablation
from devtrack.metrics.interventions.activation_patching import (
    ActivationPatching as ActivationPatching,
)
from devtrack.metrics.language.bayesian_influence import BayesianInfluence as BayesianInfluence
from devtrack.metrics.language.in_context_loss import InContextLoss as InContextLoss
from devtrack.metrics.language.ngrams import NGramScores as NGramScores
from devtrack.metrics.language.susceptibility import Susceptibility as Susceptibility
from devtrack.metrics.llc import LLC as LLC
from devtrack.metrics.loss import Loss as Loss
from devtrack.metrics.metric import Metric as Metric
from devtrack.metrics.metric import MetricOptions as MetricOptions
from devtrack.metrics.metric import Subject as Subject
from devtrack.metrics.probing.concept_direction import ConceptDirection as ConceptDirection
from devtrack.metrics.probing.linear import LinearProbe as LinearProbe
from devtrack.metrics.probing.regression import RegressionProbe as RegressionProbe
from devtrack.metrics.representation.cka import CKA as CKA
from devtrack.metrics.representation.dimensionality import Dimensionality as Dimensionality
from devtrack.metrics.representation.idle_units import UnitActivity as UnitActivity
from devtrack.metrics.weights import WeightNorm as WeightNorm

__all__ = sorted(name for name in globals() if name[0].isupper())  # pyright: ignore
