"""The fused pass of `Resampling.argmax` on a CPU, compiled by numba at first use and cached.

For one class the kernel stretches the few coarse rows that a band needs to the picture's width, then blends two of
them for each row of the band with a running maximum. Both inner loops run over columns that lie side by side in
memory, and what a band holds – its coarse rows, maxima and labels – stays in the cache.

The kernel has one thread and lets go of Python's lock; `argmax` gives each thread of a pool its rows. numba's own
parallel loops are not used: its OpenMP layer resets torch's number of threads, and ends forked processes.
"""

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

Taps = tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]
BAND = 32  # rows; the maxima of a band 2048 wide are 256 KiB


def argmax(scores: NDArray[np.float32], taps: Taps, labels: NDArray[Any], threads: int) -> None:
    """Write the argmax over K of the resampled scores (K, h, w) into labels (H, W).

    Args:
        taps: first index (int64) and weights (float32, two columns) of the rows, then of the columns.
    """
    height, width = labels.shape
    threads = min(threads, height // BAND, height * width * scores.shape[0] // 500_000)
    if threads < 2:
        argmax_rows(scores, *taps, labels, 0, height)
        return
    edges = [height * i // threads for i in range(threads + 1)]
    with ThreadPoolExecutor(threads) as pool:
        jobs = [pool.submit(argmax_rows, scores, *taps, labels, top, bottom) for top, bottom in pairwise(edges)]
        for job in jobs:
            job.result()


@numba.njit(cache=True, nogil=True)  # type: ignore[misc, unused-ignore]  # numba is untyped
def argmax_rows(
    scores: NDArray[np.float32],
    row_first: NDArray[np.int64],
    row_weights: NDArray[np.float32],
    column_first: NDArray[np.int64],
    column_weights: NDArray[np.float32],
    labels: NDArray[Any],
    start: int,
    stop: int,
) -> None:
    """Rows start…stop − 1 of `argmax`."""
    num_classes, coarse_height, coarse_width = scores.shape
    width = labels.shape[1]
    column_second = np.minimum(column_first + 1, coarse_width - 1)
    left_weight = column_weights[:, 0].copy()
    right_weight = column_weights[:, 1].copy()
    for top in range(start, stop, BAND):
        bottom = min(stop, top + BAND)
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
                        left_weight[x] * scores[k, r, column_first[x]]
                        + right_weight[x] * scores[k, r, column_second[x]]
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
