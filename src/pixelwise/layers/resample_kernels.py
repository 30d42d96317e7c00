"""The fused pass of `Resampling.argmax` on a CPU, compiled by numba at first use and cached.

Each thread takes bands of rows. For one class it blends two coarse rows, then walks the columns with a running
maximum, so nothing larger than one output row of scores is ever held.
"""

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray


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
    bands = (height + 31) // 32
    for band in numba.prange(bands):
        best = np.empty(width, np.float32)
        blended = np.empty(coarse_width + 1, np.float32)
        for y in range(band * 32, min(height, band * 32 + 32)):
            top = row_first[y]
            bottom = min(top + 1, coarse_height - 1)
            upper = row_weights[y, 0]
            lower = row_weights[y, 1]
            for k in range(num_classes):
                for x in range(coarse_width):
                    blended[x] = upper * scores[k, top, x] + lower * scores[k, bottom, x]
                blended[coarse_width] = blended[coarse_width - 1]
                if k == 0:
                    for x in range(width):
                        left = column_first[x]
                        best[x] = column_weights[x, 0] * blended[left] + column_weights[x, 1] * blended[left + 1]
                        labels[y, x] = 0
                else:
                    for x in range(width):
                        left = column_first[x]
                        value = column_weights[x, 0] * blended[left] + column_weights[x, 1] * blended[left + 1]
                        if value > best[x]:
                            best[x] = value
                            labels[y, x] = k
