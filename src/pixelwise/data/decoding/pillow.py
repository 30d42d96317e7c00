"""Pictures and masks as Pillow reads them, and what it would change: deep PNGs, small ranges, orientation."""

import re
import struct
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from pixelwise.data.decoding.files import ORIENTATION, first_bytes
from pixelwise.data.decoding.numbers import narrowed, single, whole_numbers
from pixelwise.data.quick import PNG_START
from pixelwise.data.sample import Image
from pixelwise.errors import DataError

_PNM_HEADER = re.compile(rb"P[2356](?:\s|#[^\n]*\n)+(?:\d+(?:\s|#[^\n]*\n)+){2}(\d+)\s")  # kind, width, height, maximum


def pillow_image(image: PillowImage.Image) -> Image:
    """The picture (H, W, C) of an opened file, as `decode_image` gives it, but not turned upright."""
    mode = image.mode
    if mode == "1":
        image = image.convert("L")
    elif mode in ("LA", "La"):
        return np.asarray(image)[:, :, :1].copy()
    elif mode == "P":  # through RGBA, since Pillow warns at transparent palettes
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    elif mode.startswith("I"):
        return narrowed(np.asarray(image))[:, :, None]
    elif mode not in ("L", "F", "RGB", "RGBA"):
        image = image.convert("RGB")
    array = np.asarray(image)
    if array.ndim == 2:
        return array[:, :, None].copy()
    return array[:, :, :3].copy()


def pillow_mask(image: PillowImage.Image, path: Path) -> NDArray[Any]:
    """The numbers (H, W) of an opened file, as `decode_mask` gives them, but not turned upright.

    Raises:
        DataError: the file's mode is not a mask's, or its values are no whole numbers.
    """
    mode = image.mode
    if mode == "1":
        return np.asarray(image).astype(np.uint8)
    if mode in ("L", "P"):
        return np.array(image)
    if mode.startswith("I"):
        return whole_numbers(np.array(image), path)
    if mode == "F":
        return whole_numbers(np.array(image), path)
    if mode == "PA":
        return np.array(image)[:, :, 0]
    if mode in ("LA", "RGB", "RGBA"):
        array = np.array(image)
        kept = 1 if mode == "LA" else 3
        return single(array[:, :, :kept], array[:, :, kept:], path)
    raise DataError(f"{path} is a mask of mode {mode}; expected palette, gray, 1-bit or RGB: save it as PNG")


def unstretched(mask: NDArray[Any], path: Path) -> NDArray[Any]:
    """The numbers of a PNM file whose header gives a maximum, to which Pillow has stretched them."""
    with path.open("rb") as file:
        match = _PNM_HEADER.match(file.read(1 << 12))
    maximum = int(match[1]) if match else 255
    if maximum in (255, 65_535) or mask.dtype == np.uint32:
        return mask
    full = 255 if maximum <= 255 else 65_535
    numbers: NDArray[Any] = np.rint(mask * (maximum / full)).astype(np.uint8 if maximum <= 255 else np.uint16)
    return numbers


def channels_and_type(image: PillowImage.Image, start: bytes) -> tuple[int, str]:
    """The channels and the type of the array that `decode_image` gives of an opened file.

    Args:
        start: the file's first bytes.
    """
    if is_deep_color_png(start):
        return (1 if start[25] == 4 else 3), "uint16"
    mode = image.mode
    if mode.startswith("I;16") or (mode == "I" and image.format == "PPM"):
        return 1, "uint16"
    if mode in ("I", "F"):
        return 1, "float32"
    return (1 if mode in ("1", "L", "LA", "La") else 3), "uint8"


def is_deep_color_png(start: bytes) -> bool:
    """A PNG of 16 bits with color (2, 6) or gray and alpha (4), which Pillow would cut to 8 bits."""
    return start.startswith(PNG_START) and start[24] == 16 and start[25] in (2, 4, 6)


def deep_color_png(path: Path) -> Image:
    """The picture (H, W, C) uint16 of a PNG of `is_deep_color_png`, by OpenCV."""
    array = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    if array is None:
        raise DataError(f"{path} is truncated or damaged; copy or export it again")
    if first_bytes(path)[25] == 4:  # gray and alpha come as BGRA
        return np.ascontiguousarray(array.reshape(*array.shape[:2], -1)[:, :, :1]).astype(np.uint16)
    return np.ascontiguousarray(array[:, :, 2::-1]).astype(np.uint16)


def orientation_of(image: PillowImage.Image, path: Path) -> int:
    """The EXIF orientation 1–8. Asking Pillow for a PNG's would decode all of it."""
    if image.format == "TIFF":  # Pillow has applied it
        return 1
    if image.format == "PNG" and not {"exif", "Raw profile type exif"} & image.info.keys():
        with path.open("rb") as file:
            data = _png_exif(file)
        if data is None:
            return 1
        exif = PillowImage.Exif()
        exif.load(data)
    else:
        exif = image.getexif()
    value = exif.get(ORIENTATION, 1)
    return value if value in range(1, 9) else 1


def _png_exif(file: BinaryIO) -> bytes | None:
    """The eXIf chunk of a PNG, which may come after the pixels."""
    file.seek(len(PNG_START))
    while len(header := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", header)
        if kind == b"eXIf":
            return file.read(length)
        file.seek(length + 4, 1)
    return None
