"""Segmentation and transition models: numpy in, numpy out."""

from devtrack.series import Move, RecipeEvent, Series, Transition

__all__ = ["Move", "RecipeEvent", "Series", "Transition"]
