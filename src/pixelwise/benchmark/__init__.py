"""Ratios to peers, measured on this machine: what `pixelwise benchmark` and scripts of `benchmarks/` run.

Each file is one comparison. Both sides get the same input, take turns in one process, and must give the same answer.
"""
