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
import re
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import UnidentifiedImageError

from pixelwise.data.matlab import is_matlab, matlab_mask
from pixelwise.data.quick import JPEG_START, PNG_START, color_jpeg, jpeg_size, png_numbers, png_size
from pixelwise.data.sample import Channels, DrawnImage, DrawnMask, Image, ImageSource, MaskSource
from pixelwise.errors import DataError, PixelwiseError, TooManyPixels

MAX_PIXELS = 178_956_970
"""Height × width above which a file is refused: where Pillow, too, takes it for a decompression bomb."""

MAX_BANDS = 64
"""A TIFF of up to so many pages is one picture of as many channels; above, a stack of pictures."""

IMAGE_EXTENSIONS = frozenset(
    ".jpg .jpeg .jpe .jfif .png .bmp .webp .gif .tif .tiff .ppm .pgm .pnm .pbm .tga .jp2".split()
)
"""The extensions (lower case) of files that a folder's reader looks at."""

MASK_EXTENSIONS = IMAGE_EXTENSIONS | {".mat", ".npy"}
"""The extensions (lower case) of files that may hold masks."""

TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""The first bytes of a TIFF or BigTIFF."""

_STARTS = (PNG_START, JPEG_START, b"GIF8", b"RIFF", *TIFF_STARTS)
_NUMPY_START = b"\x93NUMPY"
_PNM_HEADER = re.compile(rb"P[2356](?:\s|#[^\n]*\n)+(?:\d+(?:\s|#[^\n]*\n)+){2}(\d+)\s")  # kind, width, height, maximum
_LOSSY_REMEDY = (
    "export the masks as PNG from the program that made them, or, where that cannot be done again, "
    "--as snap takes the nearest class"
)
_ORIENTATION = 274  # the tag's number in EXIF and TIFF
_OPENING = threading.Lock()  # guards Pillow's global limit while it is lifted


@dataclass(frozen=True)
class ImageInfo:
    """What the header of a file says.

    Attributes:
        size: (height, width) in pixels, after the orientation is applied.
        channels: C of the array that `decode_image` gives.
        dtype: "uint8", "uint16" or "float32": the type of that array. TIFFs of signed integers up to 16 bits are
            float32, which holds them exactly. Integer TIFFs of 32 bits are said to be "float32" and are uint16 where
            every value fits.
        mode: Pillow's mode, or for a TIFF its photometric interpretation.
        format: "JPEG", "PNG", "TIFF", …
        orientation: the EXIF number 1–8; 1 is upright.
        alpha: there is an alpha channel, which `decode_image` drops.
    """

    size: tuple[int, int]
    channels: int
    dtype: str
    mode: str
    format: str
    orientation: int
    alpha: bool


def decode_image(path: str | Path, *, max_pixels: int | None = None) -> Image:
    """The picture in a file: (H, W, C) uint8, uint16 or float32; color is RGB.

    Args:
        max_pixels: height × width that is not read any more, told by the header; `MAX_PIXELS` if left out.

    Raises:
        DataError: the file is missing, empty, truncated, no picture, a stack, or larger than `max_pixels`.
    """
    path = Path(path)
    with naming(path):
        start, whole = _first_bytes_and(path, JPEG_START)
        if start.startswith(TIFF_STARTS):
            return _tiff_image(path, max_pixels)
        if (size := jpeg_size(whole)) is not None:
            _check_pixels(path, math.prod(size), max_pixels)
            if (color := color_jpeg(whole)) is not None:
                return color
        with _opened(path) as image:
            _check_pixels(path, image.size[0] * image.size[1], max_pixels)
            _check_png(path, start)
            if _is_deep_color_png(start):
                array = _deep_color_png(path)
            elif image.format == "JPEG" and image.mode == "RGB" and (color := color_jpeg(whole)) is not None:
                array = color
            else:
                array = _pillow_image(image)
            return upright(array, _orientation(image, path))


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
    path = Path(path)
    with naming(path):
        start, whole = _first_bytes_and(path, PNG_START)
        if (size := png_size(whole)) is not None:
            _check_pixels(path, math.prod(size))
            if (numbers := png_numbers(whole)) is not None:
                return numbers
        if start.startswith(TIFF_STARTS):
            return _tiff_mask(path, lossy)
        if start.startswith(_NUMPY_START):
            return _numpy_mask(path)
        if is_matlab(path, start):
            return _whole_numbers(matlab_mask(path, MAX_PIXELS), path)
        with _opened(path) as image:
            _check_pixels(path, image.size[0] * image.size[1])
            if not lossy and (kind := _lossy_kind(image, path, start)):
                raise DataError(
                    f"{path} is a lossy {kind}, which changes the values of a mask at every edge; {_LOSSY_REMEDY}"
                )
            if _is_deep_color_png(start):
                raise DataError(
                    f"{path} is a color mask of 16 bits a channel; expected 8 bits, or one channel of 16: save it so"
                )
            _check_png(path, start)
            mask = _pillow_mask(image, path)
            if image.format == "PPM":
                mask = _unstretched(mask, path)
            if start.startswith(PNG_START) and start[25] == 0 and start[24] in (2, 4):
                mask //= 85 if start[24] == 2 else 17  # Pillow stretches 2- and 4-bit grays to 0–255
            return upright(mask, _orientation(image, path))


def is_lossy(path: str | Path) -> bool:
    """Whether a picture file is of a kind that changes values (JPEG, lossy WebP); `decode_mask` refuses these.

    Raises:
        DataError: as `image_info`.
    """
    path = Path(path)
    with naming(path):
        start = _first_bytes(path)
        if _is_array(path, start):
            return False
        if start.startswith(TIFF_STARTS):
            with tifffile.TiffFile(path) as tiff:
                return _has_lossy_jpeg(tiff.series[0].keyframe)
        with _opened(path) as image:
            return _lossy_kind(image, path, start) is not None


def mask_palette(path: str | Path) -> NDArray[np.uint8] | None:
    """The colors of a palette mask, (256, 3) uint8, zeros where the file has none; None for other modes."""
    path = Path(path)
    with naming(path):
        start = _first_bytes(path)
        if _is_array(path, start):
            return None
        if start.startswith(TIFF_STARTS):
            with tifffile.TiffFile(path) as tiff:
                colormap = tiff.series[0].keyframe.colormap
            # 16 bits in the file; old writers put 8-bit numbers there
            colors: NDArray[Any] | None = None
            if colormap is not None:
                colors = colormap.T if colormap.max() < 256 else colormap.T >> 8
        else:
            with _opened(path) as image:
                flat = image.getpalette("RGB") if image.mode == "P" else None
            colors = None if flat is None else np.array(flat, np.uint8).reshape(-1, 3)
    if colors is None:
        return None
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(colors)] = colors[:256]
    return palette


def mask_orientation(path: str | Path) -> int:
    """The EXIF number 1–8 that `decode_mask` applies; 1 is upright."""
    path = Path(path)
    with naming(path):
        if _is_array(path, _first_bytes(path)):
            return 1
    return image_info(path).orientation


def image_info(path: str | Path) -> ImageInfo:
    """What the header of a picture or mask says; nothing is decoded.

    Raises:
        DataError: the file is missing, empty, no picture, a stack, or larger than `MAX_PIXELS`.
    """
    path = Path(path)
    with naming(path):
        start = _first_bytes(path)
        if start.startswith(TIFF_STARTS):
            return _tiff_info(path)
        with _opened(path) as image:
            width, height = image.size
            _check_pixels(path, width * height)
            orientation = _orientation(image, path)
            channels, dtype = _channels_and_type(image, start)
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


def _pillow_image(image: PillowImage.Image) -> Image:
    mode = image.mode
    if mode == "1":
        image = image.convert("L")
    elif mode in ("LA", "La"):
        return np.asarray(image)[:, :, :1].copy()
    elif mode == "P":  # through RGBA, since Pillow warns at transparent palettes
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    elif mode.startswith("I"):
        return _narrowed(np.asarray(image))[:, :, None]
    elif mode not in ("L", "F", "RGB", "RGBA"):
        image = image.convert("RGB")
    array = np.asarray(image)
    if array.ndim == 2:
        return array[:, :, None].copy()
    return array[:, :, :3].copy()


def _pillow_mask(image: PillowImage.Image, path: Path) -> NDArray[Any]:
    mode = image.mode
    if mode == "1":
        return np.asarray(image).astype(np.uint8)
    if mode in ("L", "P"):
        return np.array(image)
    if mode.startswith("I"):
        return _whole_numbers(np.array(image), path)
    if mode == "F":
        return _whole_numbers(np.array(image), path)
    if mode == "PA":
        return np.array(image)[:, :, 0]
    if mode in ("LA", "RGB", "RGBA"):
        array = np.array(image)
        kept = 1 if mode == "LA" else 3
        return _single(array[:, :, :kept], array[:, :, kept:], path)
    raise DataError(f"{path} is a mask of mode {mode}; expected palette, gray, 1-bit or RGB: save it as PNG")


def _channels_and_type(image: PillowImage.Image, start: bytes) -> tuple[int, str]:
    if _is_deep_color_png(start):
        return (1 if start[25] == 4 else 3), "uint16"
    mode = image.mode
    if mode.startswith("I;16") or (mode == "I" and image.format == "PPM"):
        return 1, "uint16"
    if mode in ("I", "F"):
        return 1, "float32"
    return (1 if mode in ("1", "L", "LA", "La") else 3), "uint8"


def _is_deep_color_png(start: bytes) -> bool:
    """A PNG of 16 bits with color (2, 6) or gray and alpha (4), which Pillow would cut to 8 bits."""
    return start.startswith(PNG_START) and start[24] == 16 and start[25] in (2, 4, 6)


def _deep_color_png(path: Path) -> Image:
    array = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    if array is None:
        raise DataError(f"{path} is truncated or damaged; copy or export it again")
    if _first_bytes(path)[25] == 4:  # gray and alpha come as BGRA
        return np.ascontiguousarray(array.reshape(*array.shape[:2], -1)[:, :, :1]).astype(np.uint16)
    return np.ascontiguousarray(array[:, :, 2::-1]).astype(np.uint16)


def _lossy_kind(image: PillowImage.Image, path: Path, start: bytes) -> str | None:
    """The name of a format that changes values; None for the others."""
    if image.format in ("JPEG", "MPO"):
        return "JPEG"
    if image.format == "WEBP":
        return "WebP" if _is_lossy_webp(path, start) else None
    if image.format == "JPEG2000":
        with path.open("rb") as file:
            head = file.read(1 << 16)
        style = head.find(b"\xff\x52", head.find(b"\xff\x4f\xff\x51"))  # the coding style, its wavelet at byte 13
        return None if head[style + 13 : style + 14] == b"\1" else "JPEG 2000"
    return None


def _is_array(path: Path, start: bytes) -> bool:
    """A file that holds a mask without being a picture."""
    return start.startswith(_NUMPY_START) or (not start.startswith(TIFF_STARTS) and is_matlab(path, start))


def _numpy_mask(path: Path) -> NDArray[Any]:
    mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    shape = " × ".join(str(n) for n in mapped.shape)
    if mapped.ndim != 2 or mapped.size == 0:
        raise DataError(f"{path} is an array {shape or 'of one number'}; expected a mask, height × width: save it so")
    _check_pixels(path, mapped.size)
    return _whole_numbers(np.array(mapped), path)


def _unstretched(mask: NDArray[Any], path: Path) -> NDArray[Any]:
    """The numbers of a PNM file whose header gives a maximum, to which Pillow has stretched them."""
    with path.open("rb") as file:
        match = _PNM_HEADER.match(file.read(1 << 12))
    maximum = int(match[1]) if match else 255
    if maximum in (255, 65_535) or mask.dtype == np.uint32:
        return mask
    full = 255 if maximum <= 255 else 65_535
    numbers: NDArray[Any] = np.rint(mask * (maximum / full)).astype(np.uint8 if maximum <= 255 else np.uint16)
    return numbers


def _check_png(path: Path, start: bytes) -> None:
    """Compare the checksums of a PNG's chunks, which Pillow does not for pixels."""
    if not start.startswith(PNG_START):
        return
    with path.open("rb") as file:
        file.seek(len(PNG_START))
        while len(header := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", header)
            if kind[0] & 32:  # not needed for the pixels
                file.seek(length + 4, 1)
                continue
            checksum = zlib.crc32(kind)
            while length > 0 and (part := file.read(min(length, 1 << 20))):
                checksum = zlib.crc32(part, checksum)
                length -= len(part)
            stored = file.read(4)
            if length > 0 or len(stored) < 4:
                raise DataError(f"{path} is truncated or damaged (it ends early); copy or export it again")
            if struct.unpack(">I", stored)[0] != checksum:
                raise DataError(
                    f"{path} is truncated or damaged (the checksum of its {kind.decode('latin-1')} is wrong); "
                    "copy or export it again"
                )
            if kind == b"IEND":
                return


def _is_lossy_webp(path: Path, start: bytes) -> bool:
    """Whether a WebP's pixels are coded lossily: the chunk VP8, also inside the extended format."""
    if start[:4] != b"RIFF" or start[12:16] != b"VP8X":
        return start[:4] == b"RIFF" and start[12:16] == b"VP8 "
    with path.open("rb") as file:
        file.seek(12)
        while len(header := file.read(8)) == 8:
            if header[:4] == b"ANMF":  # a frame of an animation: its picture's chunk comes after 16 bytes
                file.seek(16, 1)
            elif header[:4] in (b"VP8 ", b"VP8L"):
                return header[:4] == b"VP8 "
            else:
                length = struct.unpack("<I", header[4:])[0]
                file.seek(length + length % 2, 1)
    return False


@contextmanager
def _opened(path: Path) -> Iterator[PillowImage.Image]:
    """A file opened by Pillow, its header read; Pillow's own limit of pixels, a global, is lifted meanwhile."""
    with path.open("rb") as file:
        with _OPENING:
            limit, PillowImage.MAX_IMAGE_PIXELS = PillowImage.MAX_IMAGE_PIXELS, None
            try:
                image = PillowImage.open(file)
            finally:
                PillowImage.MAX_IMAGE_PIXELS = limit
        with image:
            yield image


def _orientation(image: PillowImage.Image, path: Path) -> int:
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
    value = exif.get(_ORIENTATION, 1)
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


@dataclass(frozen=True)
class _Layout:
    """How the first series of a TIFF becomes (H, W, C): its shape without axes of one, and where the bands are."""

    shape: tuple[int, ...]
    bands_first: bool | None  # None: no axis of bands
    height: int
    width: int
    bands: int
    alphas: tuple[int, ...]  # which bands are alpha


def _tiff_image(path: Path, max_pixels: int | None) -> Image:
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
        if page.photometric.name == "PALETTE" and page.colormap is not None:
            palette = mask_palette(path)
            if palette is not None and array.max(initial=0) < 256:
                return upright(palette[array[:, :, 0]], orientation)
        if page.photometric.name == "MINISWHITE":
            array = _inverted(array, page.bitspersample)
        if page.bitspersample == 1:
            array = array.astype(np.uint8) * 255
        kept = [band for band in range(layout.bands) if band not in layout.alphas]
        return upright(np.ascontiguousarray(_narrowed(array[:, :, kept])), orientation)


def _tiff_by_libtiff(path: Path, page: Any) -> Image:
    try:
        with _opened(path) as image:
            if page.samplesperpixel <= 1 or page.bitspersample <= 8:
                image.load()  # Pillow applies the orientation here
                return _pillow_image(image)
    except UnidentifiedImageError:
        pass
    array = cv2.imread(str(path), cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
    if array is None:
        raise DataError(f"{path} is compressed by {page.compression.name}, which cannot be read; save it with deflate")
    if array.ndim == 2:
        array = array[:, :, None]
    elif array.shape[2] >= 3:
        array = array[:, :, 2::-1]
    return upright(np.ascontiguousarray(_narrowed(array)), _tiff_orientation(page))


def _tiff_mask(path: Path, lossy: bool) -> NDArray[Any]:
    with tifffile.TiffFile(path) as tiff:
        layout = _layout(tiff, path)
        page: Any = tiff.series[0].keyframe
        if _has_lossy_jpeg(page) and not lossy:
            raise DataError(
                f"{path} is a TIFF with lossy JPEG inside, which changes the values of a mask at every edge; "
                f"{_LOSSY_REMEDY}"
            )
        try:
            array = _bands(tiff.series[0].asarray(), layout)
        except ValueError as error:
            if "imagecodecs" not in str(error):
                raise
            with _opened(path) as image:
                image.load()  # Pillow applies the orientation and turns white-is-zero around
                return _pillow_mask(image, path)
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
            values = _whole_numbers(values, path)
        return upright(_single(values, array[:, :, kept:], path), _tiff_orientation(page))


def _has_lossy_jpeg(page: Any) -> bool:
    return "JPEG" in page.compression.name and page.compression.name != "JPEG_LOSSLESS"


def _tiff_info(path: Path) -> ImageInfo:
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
    _check_pixels(path, height * width * max(1, bands // 4), max_pixels)
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
    tag = page.tags.get(_ORIENTATION)
    return int(tag.value) if tag is not None and tag.value in range(1, 9) else 1


def _narrowed(array: NDArray[Any]) -> Image:
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


def _whole_numbers(array: NDArray[Any], path: Path) -> NDArray[Any]:
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


def _single(values: NDArray[Any], alpha: NDArray[Any], path: Path) -> NDArray[Any]:
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


def _check_pixels(path: Path, pixels: int, limit: int | None = None) -> None:
    limit = MAX_PIXELS if limit is None else limit
    if pixels > limit:
        raise TooManyPixels(
            f"{path} announces {pixels:,} pixels; at most {limit:,} are read, since such a file may be a decompression "
            "bomb: check where it comes from; then cut it into tiles, save it as a tiled TIFF, which predict reads "
            "piece by piece, or give predict a larger --max-pixels (max_pixels)"
        )


def _first_bytes(path: Path) -> bytes:
    return _first_bytes_and(path)[0]


def _first_bytes_and(path: Path, whole: bytes | None = None) -> tuple[bytes, bytes]:
    """The first 32 bytes; and all of a file that begins with `whole`, read at one opening, or nothing."""
    with path.open("rb") as file:
        start = file.read(32)
        rest = start + file.read() if whole is not None and start.startswith(whole) else b""
    if not start:
        raise DataError(f"{path} is empty (0 bytes); copy or export it again")
    return start.ljust(32, b"\0"), rest


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turn whatever a decoder raises into a DataError that names the file."""
    try:
        yield
    except PixelwiseError as error:
        if str(path) in str(error):
            raise
        raise type(error)(f"{path}: {error}") from error
    except MemoryError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"there is no file {path}; check the path") from error
    except (IsADirectoryError, PermissionError) as error:
        raise DataError(f"{path} cannot be opened ({error.strerror}); expected a picture that you may read") from error
    except UnidentifiedImageError as error:
        if _first_bytes(path).startswith(_STARTS):
            raise DataError(f"{path} is truncated or damaged (in its header); copy or export it again") from error
        raise DataError(
            f"{path} is no picture of a known kind; expected JPEG, PNG, BMP, WebP, GIF or TIFF: "
            "remove it or save it as one"
        ) from error
    except Exception as error:  # decoders raise anything on damaged bytes: OSError, SyntaxError, struct.error, …
        raise DataError(f"{path} is truncated or damaged ({error}); copy or export it again") from error
