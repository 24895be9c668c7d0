"""Segmentation and transition models: numpy in, numpy out."""

from devtrack.series import ConfigEvent, Move, Series, Transition

__all__ = ["ConfigEvent", "Move", "Series", "Transition"]
