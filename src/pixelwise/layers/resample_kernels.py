"""The fused pass of `Resampling.argmax` on a CPU, compiled by numba at first use and cached.

Each thread takes bands of rows. For one class it stretches the few coarse rows that a band needs to the picture's
width, then blends two of them for each row of the band with a running maximum. Both inner loops run over columns that
lie side by side in memory, and what a band holds – its coarse rows, maxima and labels – stays in the cache.
"""

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

BAND = 32  # rows; the maxima of a band 2048 wide are 256 KiB


@numba.njit(parallel=True, cache=True, nogil=True)  # type: ignore[misc, unused-ignore]
def argmax(
    scores: NDArray[np.float32],
    row_first: NDArray[np.int64],
    row_weights: NDArray[np.float32],
    column_first: NDArray[np.int64],
    column_weights: NDArray[np.float32],
    labels: NDArray[Any],
) -> None:
    """Write the argmax over K of the resampled scores (K, h, w) into labels (H, W)."""
    num_classes, coarse_height, coarse_width = scores.shape
    height, width = labels.shape
    column_second = np.minimum(column_first + 1, coarse_width - 1)
    left_weight = column_weights[:, 0].copy()
    right_weight = column_weights[:, 1].copy()
    for band in numba.prange((height + BAND - 1) // BAND):
        top, bottom = band * BAND, min(height, band * BAND + BAND)
        lowest, highest = coarse_height, 0
        for y in range(top, bottom):
            lowest = min(lowest, row_first[y])
            highest = max(highest, min(row_first[y] + 1, coarse_height - 1))
        stretched = np.empty((highest - lowest + 1, width), np.float32)
        best = np.empty((bottom - top, width), np.float32)
        for k in range(num_classes):
            for r in range(lowest, highest + 1):
                for x in range(width):
                    stretched[r - lowest, x] = (
                        left_weight[x] * scores[k, r, column_first[x]] + right_weight[x] * scores[k, r, column_second[x]]
                    )
            for y in range(top, bottom):
                upper = stretched[row_first[y] - lowest]
                lower = stretched[min(row_first[y] + 1, coarse_height - 1) - lowest]
                a, b = row_weights[y, 0], row_weights[y, 1]
                row_best, row_labels = best[y - top], labels[y]
                if k == 0:
                    for x in range(width):
                        row_best[x] = a * upper[x] + b * lower[x]
                        row_labels[x] = 0
                else:
                    for x in range(width):
                        value = a * upper[x] + b * lower[x]
                        larger = value > row_best[x]
                        row_best[x] = value if larger else row_best[x]
                        row_labels[x] = k if larger else row_labels[x]
