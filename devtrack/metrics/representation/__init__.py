"""Shapes of activations: dimensionality, similarity, activity of units."""
