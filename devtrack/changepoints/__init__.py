"""Segmentation and transition models: numpy in, numpy out."""
