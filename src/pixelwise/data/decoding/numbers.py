"""From the values that stand in a file to those that are given: types, colors as one number, alpha, orientation."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixelwise.data.sample import Image
from pixelwise.errors import DataError


def narrowed(array: NDArray[Any]) -> Image:
    """An array as uint8, uint16 or float32: integers of 32 bits and more are uint16 where they fit, else float32.

    Signed ones of fewer bits are always float32, so that a set of them has one type whether a file has a value below 0
    or not.
    """
    if array.dtype in (np.uint8, np.uint16, np.float32):
        return array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype.kind == "b":
        return array.astype(np.uint8) * 255
    if array.dtype.kind == "c":
        raise DataError(f"expected real numbers, found {array.dtype}; save the magnitude")
    if array.dtype in (np.int8, np.int16):
        return array.astype(np.float32)
    if array.dtype.kind in "ui" and array.min(initial=0) >= 0 and array.max(initial=0) <= 65_535:
        return array.astype(np.uint16)
    return array.astype(np.float32)


def whole_numbers(array: NDArray[Any], path: Path) -> NDArray[Any]:
    """Values of a mask as uint8, uint16 or int32, never uint32."""
    if array.dtype.kind == "f":
        wrong = ~(np.isfinite(array) & (array == np.round(array)))
        if wrong.any():
            row, column = (int(i) for i in np.argwhere(wrong)[0][:2])
            value = float(array[row, column].ravel()[0])
            raise DataError(
                f"{path} holds {value:g} at row {row}, column {column}; expected whole numbers in a mask: "
                "export the classes, not probabilities"
            )
    elif array.dtype.kind not in "uib":
        raise DataError(f"{path} holds {array.dtype}; expected whole numbers in a mask")
    if array.dtype in (np.uint8, np.uint16):
        return array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.size and (array.min() < -(1 << 31) or array.max() >= 1 << 31):
        raise DataError(f"{path} holds values above 2³¹; expected class numbers in a mask")
    return array.astype(np.uint8 if array.dtype.kind == "b" else np.int32)


def single(values: NDArray[Any], alpha: NDArray[Any], path: Path) -> NDArray[Any]:
    """One number a pixel from (H, W, 1) or (H, W, 3); where an alpha (H, W, A) varies, laid on black."""
    if alpha.size and alpha.min() != alpha.max():
        values = _on_black(values, alpha[:, :, :1], path)
    if values.shape[2] == 1:
        return values[:, :, 0]
    wide = values.astype(np.uint32)
    packed: NDArray[Any] = wide[:, :, 0] << 16 | wide[:, :, 1] << 8 | wide[:, :, 2]
    return packed


def _on_black(values: NDArray[Any], alpha: NDArray[Any], path: Path) -> NDArray[Any]:
    """(H, W, C) laid on black by an alpha (H, W, 1).

    Raises:
        DataError: opaque black occurs, too, so that the two would become one class.
    """
    full = np.iinfo(alpha.dtype).max if alpha.dtype.kind in "ui" else 1
    clear = np.argwhere(alpha[:, :, 0] == 0)
    black = np.argwhere((alpha[:, :, 0] == full) & (values == 0).all(2))
    if len(clear) and len(black):
        raise DataError(
            f"{path} is a mask with transparent pixels (row {clear[0][0]}, column {clear[0][1]}) and black ones "
            f"(row {black[0][0]}, column {black[0][1]}); expected one of them, since what is transparent is read as "
            "black: flatten it to RGB or gray, in a color of its own"
        )
    laid: NDArray[Any] = np.rint(values * (alpha / full)).astype(values.dtype)
    return laid


def upright(array: NDArray[Any], orientation: int) -> NDArray[Any]:
    """(H, W) or (H, W, C) turned upright from an EXIF orientation 1–8."""
    if orientation == 1:
        return array
    if orientation >= 5:  # 5 is the transpose; 6, 7, 8 add what 2, 3, 4 do to an upright one
        array = array.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    return np.ascontiguousarray(array)


def full_palette(colors: NDArray[Any]) -> NDArray[np.uint8]:
    """(256, 3) uint8 of the colors (n, 3) that a file names, zeros where it names none."""
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(colors)] = colors[:256]
    return palette
