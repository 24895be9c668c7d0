"""Scores of attention heads, from their patterns and from their weights."""
