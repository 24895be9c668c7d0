"""Segmentation and transition models: numpy in, numpy out."""

from devtrack.changepoints.series import Move, RecipeEvent, Series, Transition

__all__ = ["Move", "RecipeEvent", "Series", "Transition"]
