"""Bytes to normalized levels, of a table of each channel or as they are; compiled by numba at first use and cached."""

import numba
import numpy as np
from numpy.typing import NDArray


@numba.njit(cache=True, nogil=True)  # type: ignore[misc, unused-ignore]  # numba is untyped
def look_up(table: NDArray[np.float32], pixels: NDArray[np.uint8], out: NDArray[np.float32]) -> None:
    """Write table[pixel, channel] of a table (256, C) into `out` for pixels (h, w, C).

    `cv2.LUT` takes 1.6 times as long.
    """
    height, width, channels = pixels.shape
    for y in range(height):
        if channels == 3:  # numba does not unroll a loop of unknown length
            for x in range(width):
                out[y, x, 0] = table[pixels[y, x, 0], 0]
                out[y, x, 1] = table[pixels[y, x, 1], 1]
                out[y, x, 2] = table[pixels[y, x, 2], 2]
        else:
            for x in range(width):
                for c in range(channels):
                    out[y, x, c] = table[pixels[y, x, c], c]


# NumPy's division: Python's looks for zeros, value by value
@numba.njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[misc, unused-ignore]  # numba is untyped
def standardize(
    rows: NDArray[np.uint8], mean: NDArray[np.float32], deviation: NDArray[np.float32], out: NDArray[np.float32]
) -> None:
    """Write (byte − mean) / deviation, each (n,), into `out` for rows (h, n): vectors of bytes, without a table."""
    for y in range(rows.shape[0]):
        for i in range(rows.shape[1]):
            out[y, i] = (np.float32(rows[y, i]) - mean[i]) / deviation[i]
