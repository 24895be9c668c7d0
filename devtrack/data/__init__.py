"""The batches that everything is measured on, kept as training met them."""

from devtrack.data._fixed_batches import fixed_batches
from devtrack.data._private_data import DataWarning
from devtrack.data.evaluation_set import BatchInfo, EvaluationSet

__all__ = ["BatchInfo", "DataWarning", "EvaluationSet", "fixed_batches"]
