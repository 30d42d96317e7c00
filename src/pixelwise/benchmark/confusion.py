"""The confusion matrix without masking, against the common recipe: mask the void, then bincount."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pixelwise.benchmark.turns import Ratio, ratio_of, take_turns, versioned
from pixelwise.metrics import ConfusionMatrix

NAME = "confusion"
CLASSES, SIZE, QUICK_SIZE = 19, (1024, 2048), (512, 512)
BLOCK = 32  # side of the target's regions in pixels
WRONG, VOID_SHARE, VOID = 0.15, 0.1, 255


def masked(prediction: NDArray[np.uint8], target: NDArray[np.uint8], classes: int) -> NDArray[np.int64]:
    """The recipe of most repositories: counts (target, prediction)."""
    kept = (target >= 0) & (target < classes)
    index = classes * target[kept].astype(int) + prediction[kept]
    return np.bincount(index, minlength=classes**2).reshape(classes, classes)


def measure(*, quick: bool = False) -> Iterator[Ratio]:
    """One ratio: 19 classes, a tenth of the pixels void."""
    size = QUICK_SIZE if quick else SIZE
    random = np.random.default_rng(0)
    blocks = random.integers(0, CLASSES, (size[0] // BLOCK, size[1] // BLOCK)).astype(np.uint8)
    target = np.kron(blocks, np.ones((BLOCK, BLOCK), np.uint8))
    prediction = np.where(random.random(size) < WRONG, random.integers(0, CLASSES, size), target).astype(np.uint8)
    target[random.random(size) < VOID_SHARE] = VOID

    def ours() -> NDArray[np.int64]:
        matrix = ConfusionMatrix(CLASSES)
        matrix.update(prediction, target)
        return matrix.counts

    def peer() -> NDArray[np.int64]:
        return masked(prediction, target, CLASSES)

    found, seconds = take_turns({"ours": ours, "peer": peer}, 3 if quick else 9)
    equal = bool((found["ours"] == found["peer"]).all())
    yield ratio_of(
        NAME,
        f"{CLASSES} classes, {size[0]} × {size[1]}",
        f"{versioned('numpy')}: mask, bincount",
        seconds["ours"],
        seconds["peer"],
        equal=equal,
        answers="equal counts" if equal else "the counts differ",
    )
