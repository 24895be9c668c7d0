"""Metrics of language models: statistics of text, and sampling around the weights."""
