"""TIFFs: bands, pages, palettes and orientation by tifffile; compressions that it has not, by libtiff."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import UnidentifiedImageError

from pixelwise.data.decoding.files import LOSSY_REMEDY, ORIENTATION, ImageInfo, check_pixels, opened
from pixelwise.data.decoding.numbers import full_palette, narrowed, single, upright, whole_numbers
from pixelwise.data.decoding.pillow import pillow_image, pillow_mask
from pixelwise.data.sample import Image
from pixelwise.errors import DataError

MAX_BANDS = 64
"""A TIFF of up to so many pages is one picture of as many channels; above, a stack of pictures."""


@dataclass(frozen=True)
class _Layout:
    """How the first series of a TIFF becomes (H, W, C): its shape without axes of one, and where the bands are."""

    shape: tuple[int, ...]
    bands_first: bool | None  # None: no axis of bands
    height: int
    width: int
    bands: int
    alphas: tuple[int, ...]  # which bands are alpha


def tiff_image(path: Path, max_pixels: int | None) -> Image:
    """The picture (H, W, C) of a TIFF, upright, as `decode_image` gives it."""
    with tifffile.TiffFile(path) as tiff:
        layout = _layout(tiff, path, max_pixels)
        page: Any = tiff.series[0].keyframe
        foreign = page.photometric.name in ("SEPARATED", "YCBCR", "CIELAB", "ICCLAB", "LOGLUV")
        orientation = _tiff_orientation(page)
        try:
            array = None if foreign else _bands(tiff.series[0].asarray(), layout)
        except (ValueError, ImportError) as error:  # an import fails where Python has no ZSTD
            if isinstance(error, ValueError) and "imagecodecs" not in str(error):
                raise
            array = None  # LZW, JPEG and others: libtiff in Pillow and OpenCV has them
        if array is None:
            return _tiff_by_libtiff(path, page)
        palette = tiff_palette(page) if page.photometric.name == "PALETTE" else None
        if palette is not None and array.max(initial=0) < 256:
            return upright(palette[array[:, :, 0]], orientation)
        if page.photometric.name == "MINISWHITE":
            array = _inverted(array, page.bitspersample)
        if page.bitspersample == 1:
            array = array.astype(np.uint8) * 255
        kept = [band for band in range(layout.bands) if band not in layout.alphas]
        return upright(np.ascontiguousarray(narrowed(array[:, :, kept])), orientation)


def _tiff_by_libtiff(path: Path, page: Any) -> Image:
    try:
        with opened(path) as image:
            if page.samplesperpixel <= 1 or page.bitspersample <= 8:
                image.load()  # Pillow applies the orientation here
                return pillow_image(image)
    except UnidentifiedImageError:
        pass
    array = cv2.imread(str(path), cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
    if array is None:
        raise DataError(f"{path} is compressed by {page.compression.name}, which cannot be read; save it with deflate")
    if array.ndim == 2:
        array = array[:, :, None]
    elif array.shape[2] >= 3:
        array = array[:, :, 2::-1]
    return upright(np.ascontiguousarray(narrowed(array)), _tiff_orientation(page))


def tiff_mask(path: Path, lossy: bool) -> NDArray[Any]:
    """The numbers (H, W) of a TIFF, upright, as `decode_mask` gives them."""
    with tifffile.TiffFile(path) as tiff:
        layout = _layout(tiff, path)
        page: Any = tiff.series[0].keyframe
        if has_lossy_jpeg(page) and not lossy:
            raise DataError(
                f"{path} is a TIFF with lossy JPEG inside, which changes the values of a mask at every edge; "
                f"{LOSSY_REMEDY}"
            )
        try:
            array = _bands(tiff.series[0].asarray(), layout)
        except ValueError as error:
            if "imagecodecs" not in str(error):
                raise
            with opened(path) as image:
                image.load()  # Pillow applies the orientation and turns white-is-zero around
                return pillow_mask(image, path)
        colors = page.photometric.name == "RGB" and layout.bands >= 3
        kept = 3 if colors else 1
        if layout.bands - len(layout.alphas) > kept:
            raise DataError(
                f"{path} is a mask of {layout.bands} channels or pages; expected one, or three of color: "
                "save one mask a file"
            )
        if page.photometric.name == "MINISWHITE":
            array = _inverted(array, page.bitspersample)
        values = array[:, :, :kept]
        if colors and values.dtype != np.uint8:
            raise DataError(f"{path} is a color mask of {values.dtype}; expected 8 bits a channel: save it so")
        if not colors:
            values = whole_numbers(values, path)
        return upright(single(values, array[:, :, kept:], path), _tiff_orientation(page))


def tiff_palette(page: Any) -> NDArray[np.uint8] | None:
    """The colors of a page, (256, 3) uint8; None where it has none."""
    if page.colormap is None:
        return None
    # 16 bits in the file; old writers put 8-bit numbers there
    return full_palette(page.colormap.T if page.colormap.max() < 256 else page.colormap.T >> 8)


def has_lossy_jpeg(page: Any) -> bool:
    """Whether a page is compressed by a JPEG that changes values."""
    return "JPEG" in page.compression.name and page.compression.name != "JPEG_LOSSLESS"


def tiff_info(path: Path) -> ImageInfo:
    """What the header of a TIFF says."""
    with tifffile.TiffFile(path) as tiff:
        layout = _layout(tiff, path)
        page: Any = tiff.series[0].keyframe
        orientation = _tiff_orientation(page)
        palette = page.photometric.name in ("PALETTE", "SEPARATED")
        size = (layout.height, layout.width)
        dtype = np.dtype(page.dtype)
        if palette or dtype in (np.dtype(bool), np.dtype(np.uint8)):
            kind = "uint8"
        else:
            kind = "uint16" if dtype == np.uint16 else "float32"
        return ImageInfo(
            size=size[::-1] if orientation >= 5 else size,
            channels=3 if palette else layout.bands - len(layout.alphas),
            dtype=kind,
            mode=page.photometric.name,
            format="TIFF",
            orientation=orientation,
            alpha=bool(layout.alphas),
        )


def _layout(tiff: tifffile.TiffFile, path: Path, max_pixels: int | None = None) -> _Layout:
    """Find height, width and bands. Axes of length one do not count.

    An axis of samples or channels is the bands, and so are up to `MAX_BANDS` pages; an array (H, W, C) written with a
    page for each row, as tifffile does when it is told nothing, is recognized by its short last axis.
    """
    series = tiff.series[0]
    axes, shape = zip(
        *((a, n) for a, n in zip(series.axes, series.shape, strict=True) if n > 1 or a in "YX"), strict=True
    )
    shape = tuple(int(n) for n in shape)
    bands_first: bool | None = None
    if len(shape) == 3:
        place = next((i for i, a in enumerate(axes) if a not in "YX"), 0)
        if axes[place] in "SC":
            bands_first = place == 0
        elif shape[0] <= MAX_BANDS:
            bands_first = True
        elif shape[2] <= MAX_BANDS:
            bands_first = False
    if len(shape) > 3 or len(shape) < 2 or (len(shape) == 3 and bands_first is None):
        raise DataError(
            f"{path} is a stack of pictures, {' × '.join(str(n) for n in shape)} (axes {''.join(axes)}); "
            "expected one picture: save one picture a file"
        )
    if bands_first is None:
        bands, (height, width) = 1, shape
    elif bands_first:
        bands, height, width = shape
    else:
        height, width, bands = shape
    check_pixels(path, height * width * max(1, bands // 4), max_pixels)
    extra = tuple(getattr(series.keyframe, "extrasamples", ()) or ())
    alphas = tuple(bands - len(extra) + i for i, kind in enumerate(extra) if int(kind) in (1, 2))
    return _Layout(shape, bands_first, height, width, bands, alphas if len(extra) < bands else ())


def _bands(array: NDArray[Any], layout: _Layout) -> NDArray[Any]:
    array = array.reshape(layout.shape)
    if layout.bands_first is None:
        return array[:, :, None]
    return np.moveaxis(array, 0, 2) if layout.bands_first else array


def _inverted(array: NDArray[Any], bits: int) -> NDArray[Any]:
    """White-is-zero integers turned around, so that 0 is black in every file."""
    if array.dtype.kind not in "ub":
        return array
    return (1 - array.astype(np.uint8)) if bits == 1 else np.iinfo(array.dtype).max - array


def _tiff_orientation(page: Any) -> int:
    tag = page.tags.get(ORIENTATION)
    return int(tag.value) if tag is not None and tag.value in range(1, 9) else 1
