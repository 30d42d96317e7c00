"""A crop of a map by the nearest pixel; compiled by numba at first use and cached."""

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

Axis = tuple[int, int, int, float, int, int, bool]
"""(before, count, first, factor, start, stop, mirrored): `count` pixels of the crop, behind `before` ones of padding,
show the source from `start` to `stop`, resized by `factor`, from its pixel `first` on."""


@numba.njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[misc, unused-ignore]  # numba is untyped
def nearest(values: NDArray[Any], rows: Axis, columns: Axis, fill: Any, out: NDArray[Any]) -> None:
    """Write the rows and columns of `values` (H, W) into `out` (h, w), and `fill` around them."""
    down, across = _places(rows), _places(columns)
    top, left = rows[0], columns[0]
    height, width = out.shape
    for y in range(height):
        if top <= y < top + len(down):
            for x in range(left):
                out[y, x] = fill
            for x in range(left + len(across), width):
                out[y, x] = fill
            if y > top and down[y - top] == down[y - top - 1]:
                for x in range(len(across)):
                    out[y, left + x] = out[y - 1, left + x]
            else:
                for x in range(len(across)):
                    out[y, left + x] = values[down[y - top], across[x]]
        else:
            for x in range(width):
                out[y, x] = fill


@numba.njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[misc, unused-ignore]  # numba is untyped
def _places(axis: Axis) -> NDArray[np.uint32]:
    """(count,) the source's pixels.

    They are unsigned, since signed ones are asked, one by one, whether they count from the end: half the time.
    """
    _, count, first, factor, start, stop, mirrored = axis
    places = np.empty(count, np.uint32)
    for i in range(count):
        place = start + min(int((first + i + 0.5) / factor), stop - start - 1)
        places[count - 1 - i if mirrored else i] = place
    return places
