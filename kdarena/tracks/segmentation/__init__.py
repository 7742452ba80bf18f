"""Segmentation and depth: a label or a distance for every pixel of an image."""
