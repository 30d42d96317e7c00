"""From a file to an array: pictures as RGB or their own channels, masks as the numbers that stand in the file.

The rules, decided once for everything that reads:

- What a file is comes from its first bytes, never from its extension.
- An EXIF (or TIFF) orientation is applied, to pictures and to masks.
- A picture keeps its channels: gray gives 1, color 3 (RGB), a TIFF of many bands all of them, channels last. An alpha
  channel is dropped; palette, CMYK and YCbCr pictures become RGB. 16-bit and float values stay what they are.
- A mask is read by its mode and never through luminance: palette indices, gray numbers, 1-bit as 0 and 1, colors as
  packed numbers. OpenCV never reads a mask: it expands palettes. Masks may also lie in MATLAB's and NumPy's files.
- A mask's alpha counts where it varies: what is transparent is black. A palette's transparency never counts.
- Of an animation or a file of several pages with one picture each, the first is read.
- A file that announces more than `MAX_PIXELS` is refused before anything is decoded.
"""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from pixelwise.data.decoding import files
from pixelwise.data.decoding.files import (
    LOSSY_REMEDY,
    TIFF_STARTS,
    ImageInfo,
    check_pixels,
    check_png,
    first_bytes,
    first_bytes_and,
    lossy_kind,
    naming,
    opened,
)
from pixelwise.data.decoding.numbers import full_palette, upright, whole_numbers
from pixelwise.data.decoding.pillow import (
    channels_and_type,
    deep_color_png,
    is_deep_color_png,
    orientation_of,
    pillow_image,
    pillow_mask,
    unstretched,
)
from pixelwise.data.decoding.tiff import has_lossy_jpeg, tiff_image, tiff_info, tiff_mask, tiff_palette
from pixelwise.data.matlab import is_matlab, matlab_mask
from pixelwise.data.quick import JPEG_START, PNG_START, color_jpeg, jpeg_size, png_numbers, png_size
from pixelwise.data.sample import Channels, DrawnImage, DrawnMask, Image, ImageSource, MaskSource
from pixelwise.errors import DataError

IMAGE_EXTENSIONS = frozenset(
    ".jpg .jpeg .jpe .jfif .png .bmp .webp .gif .tif .tiff .ppm .pgm .pnm .pbm .tga .jp2".split()
)
"""The extensions (lower case) of files that a folder's reader looks at."""

MASK_EXTENSIONS = IMAGE_EXTENSIONS | {".mat", ".npy"}
"""The extensions (lower case) of files that may hold masks."""


_NUMPY_START = b"\x93NUMPY"


def _parsed(path: str | Path) -> Path:
    """Taking a path apart again costs as much as opening the file."""
    return path if isinstance(path, Path) else Path(path)


def decode_image(path: str | Path, *, max_pixels: int | None = None) -> Image:
    """The picture in a file: (H, W, C) uint8, uint16 or float32; color is RGB.

    Args:
        max_pixels: height × width that is not read any more, told by the header; `MAX_PIXELS` if left out.

    Raises:
        DataError: the file is missing, empty, truncated, no picture, a stack, or larger than `max_pixels`.
    """
    path = _parsed(path)
    with naming(path):
        start, whole = first_bytes_and(path, JPEG_START)
        if start.startswith(TIFF_STARTS):
            return tiff_image(path, max_pixels)
        if (size := jpeg_size(whole)) is not None:
            check_pixels(path, math.prod(size), max_pixels)
            if (color := color_jpeg(whole)) is not None:
                return color
        with opened(path) as image:
            check_pixels(path, image.size[0] * image.size[1], max_pixels)
            check_png(path, start)
            if is_deep_color_png(start):
                array = deep_color_png(path)
            elif image.format == "JPEG" and image.mode == "RGB" and (color := color_jpeg(whole)) is not None:
                array = color
            else:
                array = pillow_image(image)
            return upright(array, orientation_of(image, path))


def decode_mask(path: str | Path, *, lossy: bool = False) -> NDArray[Any]:
    """The numbers of a mask: (H, W) integers as they stand in the file.

    Palette and gray files give their numbers (uint8, uint16 or int32), 1-bit files 0 and 1. A color file gives packed
    colors (`pixelwise.labels.pack_color`), also where it only holds grays: **uint32 means packed colors**, and nothing
    else has that type. A constant alpha channel is ignored; where alpha varies, the mask is laid on black. MATLAB's
    files (`pixelwise.data.matlab`) and NumPy's .npy are read, too.

    Args:
        lossy: read JPEG and lossy WebP, too; the values are then only near the classes'.

    Raises:
        DataError: the file cannot be read; is lossy (JPEG, lossy WebP), which changes the numbers at every edge; has
            both black and transparent pixels; holds fractions; or has more channels than a color.
    """
    path = _parsed(path)
    with naming(path):
        start, whole = first_bytes_and(path, PNG_START)
        if (size := png_size(whole)) is not None:
            check_pixels(path, math.prod(size))
            if (numbers := png_numbers(whole)) is not None:
                return numbers
        if start.startswith(TIFF_STARTS):
            return tiff_mask(path, lossy)
        if start.startswith(_NUMPY_START):
            return _numpy_mask(path)
        if is_matlab(path, start):
            return whole_numbers(matlab_mask(path, files.MAX_PIXELS), path)
        with opened(path) as image:
            check_pixels(path, image.size[0] * image.size[1])
            if not lossy and (kind := lossy_kind(image, path, start)):
                raise DataError(
                    f"{path} is a lossy {kind}, which changes the values of a mask at every edge; {LOSSY_REMEDY}"
                )
            if is_deep_color_png(start):
                raise DataError(
                    f"{path} is a color mask of 16 bits a channel; expected 8 bits, or one channel of 16: save it so"
                )
            check_png(path, start)
            mask = pillow_mask(image, path)
            if image.format == "PPM":
                mask = unstretched(mask, path)
            if start.startswith(PNG_START) and start[25] == 0 and start[24] in (2, 4):
                mask //= 85 if start[24] == 2 else 17  # Pillow stretches 2- and 4-bit grays to 0–255
            return upright(mask, orientation_of(image, path))


def is_lossy(path: str | Path) -> bool:
    """Whether a picture file is of a kind that changes values (JPEG, lossy WebP); `decode_mask` refuses these.

    Raises:
        DataError: as `image_info`.
    """
    path = Path(path)
    with naming(path):
        start = first_bytes(path)
        if _is_array(path, start):
            return False
        if start.startswith(TIFF_STARTS):
            with tifffile.TiffFile(path) as tiff:
                return has_lossy_jpeg(tiff.series[0].keyframe)
        with opened(path) as image:
            return lossy_kind(image, path, start) is not None


def mask_palette(path: str | Path) -> NDArray[np.uint8] | None:
    """The colors of a palette mask, (256, 3) uint8, zeros where the file has none; None for other modes."""
    path = Path(path)
    with naming(path):
        start = first_bytes(path)
        if _is_array(path, start):
            return None
        if start.startswith(TIFF_STARTS):
            with tifffile.TiffFile(path) as tiff:
                return tiff_palette(tiff.series[0].keyframe)
        with opened(path) as image:
            flat = image.getpalette("RGB") if image.mode == "P" else None
    return None if flat is None else full_palette(np.array(flat, np.uint8).reshape(-1, 3))


def mask_orientation(path: str | Path) -> int:
    """The EXIF number 1–8 that `decode_mask` applies; 1 is upright."""
    path = Path(path)
    with naming(path):
        if _is_array(path, first_bytes(path)):
            return 1
    return image_info(path).orientation


def image_info(path: str | Path) -> ImageInfo:
    """What the header of a picture or mask says; nothing is decoded.

    Raises:
        DataError: the file is missing, empty, no picture, a stack, or larger than `MAX_PIXELS`.
    """
    path = Path(path)
    with naming(path):
        start = first_bytes(path)
        if start.startswith(TIFF_STARTS):
            return tiff_info(path)
        with opened(path) as image:
            width, height = image.size
            check_pixels(path, width * height)
            orientation = orientation_of(image, path)
            channels, dtype = channels_and_type(image, start)
            return ImageInfo(
                size=(width, height) if orientation >= 5 else (height, width),
                channels=channels,
                dtype=dtype,
                mode=image.mode,
                format=str(image.format),
                orientation=orientation,
                alpha=image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info,
            )


def read_image(source: ImageSource) -> Image:
    """The picture of a pair: as `decode_image`; the channels of several files one after another; or as it is drawn.

    Raises:
        DataError: as `decode_image`; or the files differ in size or type; or as the picture's own `draw`.
    """
    if isinstance(source, DrawnImage):
        return source.draw()
    if not isinstance(source, Channels):
        return decode_image(source)
    parts: list[Any] = [decode_image(file) for file in source.files]
    for file, part in zip(source.files, parts, strict=True):
        if part.shape[:2] != parts[0].shape[:2] or part.dtype != parts[0].dtype:
            raise DataError(
                f"{file} is {part.shape[0]} × {part.shape[1]} {part.dtype}, {source.path} is {parts[0].shape[0]} × "
                f"{parts[0].shape[1]} {parts[0].dtype}; the channels of one picture must be alike: export them again"
            )
    joined: Image = np.concatenate(parts, axis=2)
    return joined


def read_mask(source: MaskSource, *, lossy: bool = False) -> NDArray[Any]:
    """The numbers of a pair's mask, (H, W) as `decode_mask` gives them.

    Args:
        lossy: read lossy files, too; what they hold must be snapped to classes.

    Raises:
        DataError: as `decode_mask`, or as the mask's own `draw`.
    """
    return source.draw()[0] if isinstance(source, DrawnMask) else decode_mask(source, lossy=lossy)


def read_info(source: ImageSource) -> ImageInfo:
    """What the headers of a pair's picture say; one that stands in no file is drawn.

    Raises:
        DataError: as `image_info`; or as the picture's own `draw`.
    """
    if isinstance(source, DrawnImage):
        return array_info(source.draw())
    if not isinstance(source, Channels):
        return image_info(source)
    infos = [image_info(file) for file in source.files]
    return replace(infos[0], channels=sum(info.channels for info in infos))


def array_info(image: Image) -> ImageInfo:
    """What a header would say of a picture (H, W, C) that stands in no file."""
    height, width, channels = image.shape
    return ImageInfo((height, width), channels, image.dtype.name, mode="", format="", orientation=1, alpha=False)


def _is_array(path: Path, start: bytes) -> bool:
    """A file that holds a mask without being a picture."""
    return start.startswith(_NUMPY_START) or (not start.startswith(TIFF_STARTS) and is_matlab(path, start))


def _numpy_mask(path: Path) -> NDArray[Any]:
    mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    shape = " × ".join(str(n) for n in mapped.shape)
    if mapped.ndim != 2 or mapped.size == 0:
        raise DataError(f"{path} is an array {shape or 'of one number'}; expected a mask, height × width: save it so")
    check_pixels(path, mapped.size)
    return whole_numbers(np.array(mapped), path)
