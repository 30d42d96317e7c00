"""Predicting files: what is given, how stages overlap, what is written, and how it goes on after a kill."""
