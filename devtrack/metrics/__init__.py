"""Metrics: what is measured on a snapshot, one file per family."""
