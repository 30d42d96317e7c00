"""Upsampling with argmax in one pass, against `torch.nn.functional.interpolate(...).argmax(1)`.

    python benchmarks/resample_argmax.py

Prints, for each case, the median time of both, their ratio, and the share of equal labels (ties may differ); the same
as `pixelwise benchmark --only argmax`.
"""

from pixelwise.benchmark import argmax
from pixelwise.benchmark.turns import print_all

if __name__ == "__main__":
    print_all(argmax.measure())
