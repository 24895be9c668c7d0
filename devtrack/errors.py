"""The exception tree: every error that devtrack raises on purpose is a ``DevtrackError``.

A message has three parts: what was given, what is allowed, what to do next. The command line
prints it as one line and exits with 1.
"""


class DevtrackError(Exception):
    """Any error that devtrack raises on purpose."""


class ConfigError(DevtrackError, ValueError):
    """An argument that cannot work, found at the door."""


class StoreError(DevtrackError):
    """A store that cannot be opened, read or written."""


class UnknownRunError(StoreError, KeyError):
    """A run that the store does not hold."""

    def __str__(self) -> str:
        return Exception.__str__(self)  # KeyError would show the message's repr


class QueryError(StoreError):
    """SQL that DuckDB refused."""


class SnapshotError(DevtrackError):
    """Weights that cannot be written, found or loaded."""


class DataError(DevtrackError):
    """Data that a metric cannot use."""


class MetricError(DevtrackError):
    """A metric that cannot be computed on this model; stored as a row, never raised in training."""
