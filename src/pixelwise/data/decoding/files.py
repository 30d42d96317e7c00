"""Picture files before they are decoded: first bytes, what headers and checksums say, errors that name the file."""

import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image as PillowImage
from PIL import UnidentifiedImageError

from pixelwise.data.quick import JPEG_START, PNG_START
from pixelwise.errors import DataError, PixelwiseError, TooManyPixels

MAX_PIXELS = 178_956_970
"""Height × width above which a file is refused: where Pillow, too, takes it for a decompression bomb."""

TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""The first bytes of a TIFF or BigTIFF."""

_STARTS = (PNG_START, JPEG_START, b"GIF8", b"RIFF", *TIFF_STARTS)


LOSSY_REMEDY = (
    "export the masks as PNG from the program that made them, or, where that cannot be done again, "
    "--as snap takes the nearest class"
)

ORIENTATION = 274  # the tag's number in EXIF and TIFF
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


def check_pixels(path: Path, pixels: int, limit: int | None = None) -> None:
    """Refuse a file that announces more pixels than `limit`, or `MAX_PIXELS`.

    Raises:
        TooManyPixels: it does.
    """
    limit = MAX_PIXELS if limit is None else limit
    if pixels > limit:
        raise TooManyPixels(
            f"{path} announces {pixels:,} pixels; at most {limit:,} are read, since such a file may be a decompression "
            "bomb: check where it comes from; then cut it into tiles, save it as a tiled TIFF, which predict reads "
            "piece by piece, or give predict a larger --max-pixels (max_pixels)"
        )


def first_bytes(path: Path) -> bytes:
    """The first 32 bytes of a file, zeros where it is shorter.

    Raises:
        DataError: it is empty.
    """
    return first_bytes_and(path)[0]


def first_bytes_and(path: Path, whole: bytes | None = None) -> tuple[bytes, bytes]:
    """The first 32 bytes; and all of a file that begins with `whole`, read at one opening, or nothing."""
    with path.open("rb", buffering=0) as file:  # a buffer of two reads costs as much as they
        start = file.read(32)
        rest = start + file.read() if whole is not None and start.startswith(whole) else b""
    if not start:
        raise DataError(f"{path} is empty (0 bytes); copy or export it again")
    return start.ljust(32, b"\0"), rest


@contextmanager
def opened(path: Path) -> Iterator[PillowImage.Image]:
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


def lossy_kind(image: PillowImage.Image, path: Path, start: bytes) -> str | None:
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


def check_png(path: Path, start: bytes) -> None:
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
        if first_bytes(path).startswith(_STARTS):
            raise DataError(f"{path} is truncated or damaged (in its header); copy or export it again") from error
        raise DataError(
            f"{path} is no picture of a known kind; expected JPEG, PNG, BMP, WebP, GIF or TIFF: "
            "remove it or save it as one"
        ) from error
    except Exception as error:  # decoders raise anything on damaged bytes: OSError, SyntaxError, struct.error, …
        raise DataError(f"{path} is truncated or damaged ({error}); copy or export it again") from error
