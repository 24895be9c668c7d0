"""How far sampled chains can be trusted: arrays in, numbers and reasons out."""

from devtrack.diagnostics.diagnose import Diagnosis, Path, diagnose, require_chains

__all__ = ["Diagnosis", "Path", "diagnose", "require_chains"]
