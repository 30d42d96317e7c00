"""JPEG and PNG as nearly all are, from their bytes; all else is Pillow's, which `data.decode` asks then.

OpenCV's decoder of JPEG takes four fifths of the time of Pillow's for the same pixels. Rows of a palette's numbers are
rarely filtered, and are then there once zlib has inflated them, in three quarters of the time of Pillow's and OpenCV's
decoders (VOC's files, one core). Other rows are OpenCV's, which expands palettes: a PNG with a palette is, without it,
a gray PNG of the same numbers, so the palette is taken out and the header says gray before OpenCV sees it. Whatever is
not plain – a rotation, several pictures in a file, a damage – gives None.
"""

import struct
import zlib
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

JPEG_START = b"\xff\xd8\xff"
PNG_START = b"\x89PNG\r\n\x1a\n"
PALETTE, GRAY = 3, 0  # a PNG's color types
_RGB: int | None = getattr(cv2, "IMREAD_COLOR_RGB", None)  # since OpenCV 4.11
_FRAMES = range(0xC0, 0xC3)  # a frame header: baseline, extended, progressive
_SCAN, _EXIF, _PICTURES = 0xDA, 0xE1, 0xE2  # the first scan; EXIF or XMP; an index of several pictures, or a profile
_ANIMATED, _ROTATED = b"acTL", b"eXIf"
_PROFILE = b"Raw profile type exif\0"


def jpeg_size(data: bytes) -> tuple[int, int] | None:
    """(height, width) of a JPEG of three components of 8 bits that says nothing of a rotation or of further pictures.

    None for all others.
    """
    size = None
    place = 2
    while place + 10 <= len(data) and data[place] == 0xFF:
        kind, length = data[place + 1], int.from_bytes(data[place + 2 : place + 4])
        if kind == _SCAN:
            return size
        if kind == _EXIF or (kind == _PICTURES and data[place + 4 : place + 8] == b"MPF\0"):
            return None
        if kind in _FRAMES:
            bits, height, width, components = struct.unpack_from(">BHHB", data, place + 4)
            if bits != 8 or components != 3 or not height:
                return None
            size = height, width
        elif kind < 0xC3 or 0xD0 <= kind <= 0xD9 or kind == 0xFF:  # what stands in no header
            return None
        place += 2 + length
    return None


def color_jpeg(data: bytes) -> NDArray[np.uint8] | None:
    """The pixels (H, W, 3), RGB, of a JPEG; the same as Pillow's, as both have libjpeg-turbo.

    None where OpenCV gives nothing, or the file does not end as JPEGs do.
    """
    if not data.endswith(b"\xff\xd9"):
        return None
    flags = cv2.IMREAD_IGNORE_ORIENTATION | (cv2.IMREAD_COLOR if _RGB is None else _RGB)
    array: NDArray[Any] | None = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if array is not None and _RGB is None:
        array = cv2.cvtColor(array, cv2.COLOR_BGR2RGB, dst=array)
    return array


def png_numbers(data: bytes) -> NDArray[np.uint8] | None:
    """The numbers (H, W) of a PNG of 8 bits, palette indices or grays, that says nothing of a rotation or animation.

    None for all others, and where a checksum is wrong.
    """
    if len(data) < 45 or data[24] != 8 or data[25] not in (PALETTE, GRAY):
        return None
    header, packed = b"", []
    place = 8
    while place + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        stop = place + 12 + length
        if kind in (_ANIMATED, _ROTATED) or (kind[0] & 32 and data[place + 8 : place + 8 + len(_PROFILE)] == _PROFILE):
            return None
        if not kind[0] & 32:  # needed for the pixels
            content = data[place + 4 : stop - 4]
            if len(content) < length + 4 or zlib.crc32(content) != int.from_bytes(data[stop - 4 : stop]):
                return None
            if kind == b"IHDR" and not header:
                header = content
            elif kind == b"IDAT":
                packed.append(content)
            elif kind not in (b"PLTE", b"IEND"):
                return None
        if kind == b"IEND":
            break
        place = stop
    else:
        return None
    if data[25] == PALETTE and (plain := _unfiltered(packed, header)) is not None:
        return plain
    gray = header[:13] + bytes([GRAY]) + header[14:]
    chunks = (_chunk(content) for content in (gray, *packed, b"IEND"))
    array: NDArray[Any] | None = cv2.imdecode(
        np.frombuffer(PNG_START + b"".join(chunks), np.uint8), cv2.IMREAD_UNCHANGED
    )
    return array if array is not None and array.ndim == 2 and array.dtype == np.uint8 else None


def _chunk(content: bytes) -> bytes:
    """A PNG's chunk of a kind and its data."""
    return struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))


def _unfiltered(packed: Sequence[bytes], header: bytes) -> NDArray[np.uint8] | None:
    """The bytes (H, W) of a PNG's deflated rows, where they are neither filtered nor interlaced; None for others."""
    width, height, *how = struct.unpack_from(">II2x3B", header, 4)
    rows = height * (width + 1)  # each begins with the number of its filter
    stream = zlib.decompressobj()
    try:
        if any(how) or stream.decompress(b"".join(content[4:] for content in packed), 1) != b"\0":
            return None
        rest = stream.decompress(stream.unconsumed_tail, rows)
    except zlib.error:
        return None
    if len(rest) != rows - 1 or not stream.eof:
        return None
    lines = np.frombuffer(b"\0" + rest, np.uint8).reshape(height, width + 1)
    return None if lines[:, 0].any() else lines[:, 1:].copy()


def png_size(data: bytes) -> tuple[int, int] | None:
    """(height, width) that a PNG's header announces; None where there is none."""
    if data[12:16] != b"IHDR" or len(data) < 24:
        return None
    width, height = struct.unpack_from(">II", data, 16)
    return height, width
