"""Counting pairs of bytes, compiled by numba at first use and cached; `ConfusionMatrix.update` is made of it."""

import numba
import numpy as np
from numpy.typing import NDArray


def count_pairs(targets: NDArray[np.uint8], predictions: NDArray[np.uint8]) -> NDArray[np.int64]:
    """How often each target stands with each prediction: two flat arrays of the same length → (256, 256).

    Pixels beside each other are mostly alike, and a count that was just written is slow to be read again; so each of
    four neighbors has a histogram of its own.
    """
    counts = np.zeros((4, 256 * 256), np.int64)
    _count(targets, predictions, counts)
    whole: NDArray[np.int64] = counts.sum(0).reshape(256, 256)
    return whole


@numba.njit(cache=True, nogil=True)  # type: ignore[misc, unused-ignore]  # numba is untyped
def _count(targets: NDArray[np.uint8], predictions: NDArray[np.uint8], counts: NDArray[np.int64]) -> None:
    even = targets.size // 4 * 4
    for i in range(0, even, 4):
        counts[0, np.uint32(targets[i]) << np.uint32(8) | predictions[i]] += 1
        counts[1, np.uint32(targets[i + 1]) << np.uint32(8) | predictions[i + 1]] += 1
        counts[2, np.uint32(targets[i + 2]) << np.uint32(8) | predictions[i + 2]] += 1
        counts[3, np.uint32(targets[i + 3]) << np.uint32(8) | predictions[i + 3]] += 1
    for i in range(even, targets.size):
        counts[0, np.uint32(targets[i]) << np.uint32(8) | predictions[i]] += 1
