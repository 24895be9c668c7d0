"""Causal effects: activations are removed, or replaced by those of another input."""
