"""Predict, evaluate, and what predictions look like on disk; takes networks, never a Segmenter."""
