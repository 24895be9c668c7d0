"""Sampling chains around a fixed point of the weights."""
