"""The confusion matrix without masking, against the common recipe: mask the void, then bincount.

    python benchmarks/confusion_matrix.py

1024 × 2048 pixels, 19 classes, 10 % void; prints median times and their ratio, after checking equal counts; the same as
`pixelwise benchmark --only confusion`.
"""

from pixelwise.benchmark import confusion
from pixelwise.benchmark.turns import print_all

if __name__ == "__main__":
    print_all(confusion.measure())
