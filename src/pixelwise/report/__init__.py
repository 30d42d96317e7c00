"""Self-contained HTML pages: what a fit left (`page`), and what a folder holds (`check`)."""

MARK = "pixelwise check"
"""Stands near the start of every page of check, so that no other file is taken for one and replaced."""
