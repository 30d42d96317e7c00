"""The confusion matrix without masking, against the common recipe: mask the void, then bincount.

    python benchmarks/confusion_matrix.py

1024 × 2048 pixels, 19 classes, 10 % void; prints median times and their ratio, after checking equal counts.
"""

import statistics
import time

import numpy as np

from pixelwise.metrics import ConfusionMatrix


def masked(prediction: np.ndarray, target: np.ndarray, classes: int) -> np.ndarray:
    """The recipe of most repositories."""
    kept = (target >= 0) & (target < classes)
    index = classes * target[kept].astype(int) + prediction[kept]
    return np.bincount(index, minlength=classes**2).reshape(classes, classes)


def main() -> None:
    """Run and print."""
    random = np.random.default_rng(0)
    blocks = random.integers(0, 19, (32, 64)).astype(np.uint8)
    target = np.kron(blocks, np.ones((32, 32), np.uint8))
    prediction = np.where(random.random(target.shape) < 0.15, random.integers(0, 19, target.shape), target)
    prediction = prediction.astype(np.uint8)
    target[random.random(target.shape) < 0.1] = 255
    ours, theirs = [], []
    for _ in range(9):
        matrix = ConfusionMatrix(19)
        start = time.perf_counter()
        matrix.update(prediction, target)
        middle = time.perf_counter()
        expected = masked(prediction, target, 19)
        theirs.append(time.perf_counter() - middle)
        ours.append(middle - start)
        if not (matrix.counts == expected).all():
            raise SystemExit("the counts differ")
    ratio = statistics.median(b / a for a, b in zip(ours, theirs, strict=True))
    print(
        f"{statistics.median(ours) * 1e3:.1f} ms, masked bincount {statistics.median(theirs) * 1e3:.1f} ms: "
        f"{ratio:.1f}×, equal counts"
    )


if __name__ == "__main__":
    main()
