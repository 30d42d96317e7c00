"""Levels: the pixels of any picture as float32 on one scale, 0–255, and what is typical of one picture.

uint8 counts as it is, uint16 is divided by 257, float is taken as 0–1 and multiplied by 255. Nothing is
clipped: pictures whose values fill another range are brought to a common one by their own statistics.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Statistics = NDArray[np.float32]
"""(2, C): mean and standard deviation of each channel, in levels."""

GRID = 64  # rows and columns of the grid of pixels that statistics are taken from


_SCALES = {np.dtype(np.uint8): 1.0, np.dtype(np.uint16): 255 / 65_535}


def level_scale(dtype: np.dtype[Any]) -> float:
    """What a value of this dtype is multiplied by to get a level."""
    return _SCALES.get(dtype, 255.0)


def to_levels(image: NDArray[Any]) -> NDArray[np.float32]:
    """(…, C) uint8, uint16 or float32 as float32 levels."""
    return image.astype(np.float32) * np.float32(level_scale(image.dtype))


def grid_of(image: NDArray[Any]) -> NDArray[np.float32]:
    """(n, C) levels of an evenly spaced grid of at most 64 × 64 pixels of a picture (H, W, C)."""
    rows, columns = (max(-(-length // GRID), 1) for length in image.shape[:2])
    grid = image[rows // 2 :: rows, columns // 2 :: columns]
    if grid.size == 0:
        grid = image[:1, :1]
    return to_levels(grid.reshape(-1, image.shape[2]))


def statistics_of(grid: NDArray[np.float32]) -> Statistics:
    """Mean and standard deviation of levels (n, C)."""
    if grid.shape[1] == 1:
        return np.stack([grid.mean(0), grid.std(0)]).astype(np.float32)
    # what NumPy's mean and std do, sums row after row in float32, but a channel at a time, which is faster
    channels, count = grid.T.copy(), np.float32(len(grid))
    mean = np.add.accumulate(channels, axis=1)[:, -1] / count
    channels -= mean[:, None]
    channels *= channels
    return np.stack([mean, np.sqrt(np.add.accumulate(channels, axis=1)[:, -1] / count)])
