"""Pictures: from the bytes of an upload to pixels.

The decoder takes paths. An upload has none: it lies in memory under a name that the system makes. TIFFs, whose reader
takes no such names, and all uploads on systems without them, lie in a folder of their own meanwhile that only this
user can read, in memory where the system has one there.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from pixelwise.data.decode import decode_image, decode_mask, image_info
from pixelwise.data.decoding.files import ImageInfo
from pixelwise.errors import DataError, TooManyPixels
from pixelwise.server.refusals import Refusal
from pixelwise.server.screening import check_tiff, screen

OPEN, MEMORY = Path("/proc/self/fd"), Path("/dev/shm")
CHANNELS = 4  # of 8 bits: what a pixel may take on average, so that many channels count as more pixels


@contextmanager
def as_file(data: bytes) -> Iterator[Path]:
    """A path at which these bytes can be read meanwhile."""
    if hasattr(os, "memfd_create") and OPEN.is_dir() and not data.startswith((b"II", b"MM")):
        number = os.memfd_create("upload", os.MFD_CLOEXEC)
        with os.fdopen(number, "wb") as file:
            file.write(data)
            file.flush()
            yield OPEN / str(number)
    else:
        place = str(MEMORY) if MEMORY.is_dir() and os.access(MEMORY, os.W_OK) else None
        with tempfile.TemporaryDirectory(prefix="pixelwise-", dir=place) as folder:
            path = Path(folder) / "upload"
            path.write_bytes(data)
            yield path


def inspect(data: bytes, content_type: str, max_pixels: int, *, what: str = "picture") -> ImageInfo:
    """What the header of a picture says; nothing is decoded.

    Args:
        what: to call it in a refusal.

    Raises:
        Refusal: it is none of the formats, damaged, or too large.
    """
    kind = screen(data, content_type)
    with as_file(data) as path, _refusing(path, what):
        if kind == "TIFF":
            check_tiff(path, max_pixels * CHANNELS)
        info = image_info(path)
    height, width = info.size
    deep = {"uint8": 1, "uint16": 2}.get(info.dtype, 4) * info.channels
    if height * width > max_pixels or height * width * deep > max_pixels * CHANNELS:
        raise Refusal(
            "too_many_pixels",
            f"the {what} is {width} × {height} = {height * width:,} pixels of {info.channels} channel"
            f"{'s' if info.channels > 1 else ''}; at most {max_pixels:,} are taken: make it smaller, or cut it",
        )
    return info


def decode(data: bytes) -> NDArray[Any]:
    """The pixels (H, W, C) of a picture that was inspected.

    Raises:
        Refusal: it is damaged.
    """
    with as_file(data) as path, _refusing(path, "picture"):
        return decode_image(path)


def decode_numbers(data: bytes) -> NDArray[Any]:
    """The numbers (H, W) of a mask that was inspected, as `pixelwise.data.decode.decode_mask`.

    Raises:
        Refusal: it is damaged, or lossy.
    """
    with as_file(data) as path, _refusing(path, "mask", "bad_mask"):
        return decode_mask(path)


@contextmanager
def _refusing(path: Path, what: str, code: str = "bad_picture") -> Iterator[None]:
    """Whatever a decoder raises at a damaged file refuses the upload, without the path that it lay at."""
    try:
        yield
    except TooManyPixels as error:  # than the decoder reads anywhere; its advice is for files
        message = f"the {what} announces more pixels than are read; make it smaller, or cut it"
        raise Refusal("too_many_pixels", message) from error
    except DataError as error:
        raise Refusal(code, " ".join(str(error).replace(str(path), f"the {what}").split())) from error
    except MemoryError as error:
        raise Refusal("no_memory", f"there is no memory to decode the {what}", retry_after=5) from error
    except Refusal:
        raise
    except Exception as error:  # whatever a decoder's parser stumbles over
        raise Refusal(code, f"the {what} is damaged ({type(error).__name__}); copy or export it again") from error
