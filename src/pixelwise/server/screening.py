"""Screening: what an upload is, by its bytes, before anything decodes it.

Only JPEG, PNG, WebP, GIF, BMP and plain TIFF are let through. Refused are files that are two things at once, as a PNG
with a ZIP or a web page in it; files that end early; files of very many small parts, which take long to walk; JPEGs of
very many scans, which take minutes to decode; and TIFFs that name other files (OME and others), have very many pages or
strips, or whose strips and tiles are larger than the picture or unpack to more than they say.

Phones put a second picture or a short film behind a JPEG's end. These are let through; they are never stored or sent.
"""

import itertools
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tifffile

from pixelwise.server.refusals import Refusal

SCANS = 64  # of a JPEG; progressive ones have about ten
PARTS = {"JPEG": 20_000, "PNG": 20_000, "GIF": 150_000}  # segments, chunks, blocks; 32 MB of GIF have 130 thousand
PAGES = 64  # of a TIFF, as many as `pixelwise.data.decode` takes for the channels of one picture
TAGS, VALUES = 1000, 200_000  # of a TIFF's page, and of one tag but for texts and bytes: strips' places, say
FOREIGN = (b"<script", b"<!doctype html", b"<html>", b"<html ", b"<?php ", b"<?php\n", b"%pdf-1")  # lower case
TYPES = {
    "JPEG": ("image/jpeg", "image/jpg", "image/pjpeg", "image/mpo"),
    "PNG": ("image/png", "image/x-png", "image/apng"),
    "GIF": ("image/gif",),
    "WebP": ("image/webp",),
    "BMP": ("image/bmp", "image/x-bmp", "image/x-ms-bmp"),
    "TIFF": ("image/tiff", "image/tiff-fx", "image/geotiff"),
}
"""{format: the media types that it may be called}."""

NEUTRAL = ("", "application/octet-stream", "binary/octet-stream", "image/*")
"""Media types that say nothing."""

_STARTS = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
)
_NO_FILL = re.compile(rb"[^\xff]")
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # inside a JPEG's scan: what ends it
_TIFF_FLAGS = {"shaped", "imagej", "memmappable", "uniform", "tiled", "bigtiff", "geotiff", "sampleformat", "subifd"}
_TIFF_COMPRESSIONS = {"NONE", "LZW", "DEFLATE", "ADOBE_DEFLATE", "JPEG"}


def screen(data: bytes, content_type: str = "") -> str:
    """The format of a picture's bytes, a key of `TYPES`.

    Args:
        content_type: what the client says that it is, without parameters.

    Raises:
        Refusal: unsupported_media, or bad_picture where the file ends early.
    """
    if not data:
        raise Refusal("bad_picture", "the picture is empty (0 bytes); send its bytes")
    content_type = content_type.strip().lower()
    if content_type not in NEUTRAL and not content_type.startswith("image/"):
        raise Refusal(
            "unsupported_media",
            f"the Content-Type of the picture is {content_type[:60]!r}; expected an image type or "
            "application/octet-stream: send the picture's bytes as they stand in the file",
        )
    kind = _kind(data)
    if content_type not in NEUTRAL and content_type not in TYPES[kind]:
        raise Refusal(
            "unsupported_media",
            f"the picture's bytes are {kind}, but its Content-Type is {content_type[:60]!r}; send {TYPES[kind][0]} or "
            "application/octet-stream",
        )
    end = _end(data, kind)
    if end < len(data) and not (kind == "JPEG" and _is_trailer(data[end:])):
        raise Refusal(
            "unsupported_media",
            f"{len(data) - end} bytes follow the end of the {kind}; expected the picture alone: save it again",
        )
    lower = data.lower()
    if any(mark in lower for mark in FOREIGN) or _is_zip(data):
        raise Refusal(
            "unsupported_media",
            f"the {kind} is a web page, script, PDF or archive as well; expected the picture alone: save it again",
        )
    return kind


def check_tiff(path: Path, most: int) -> None:
    """Refuse TIFFs that read other files, or that grow beyond what they say; nothing is decoded whole.

    Args:
        most: bytes that all strips or tiles of a page may unpack to, what lies beyond the picture's border included.

    Raises:
        Refusal: unsupported_media, too_many_pixels or bad_picture.
    """
    _count_pages(path.read_bytes())
    with tifffile.TiffFile(path) as tiff:
        strange = {str(flag) for flag in tiff.flags} - _TIFF_FLAGS
        if strange:
            raise Refusal(
                "unsupported_media",
                f"the TIFF is of a special kind ({', '.join(sorted(strange))}); save it as a plain TIFF",
            )
        for one in tiff.pages:
            page: Any = one.aspage()
            name = page.compression.name
            if name not in _TIFF_COMPRESSIONS:
                raise Refusal("unsupported_media", f"the TIFF is compressed by {name}; save it with LZW or deflate")
            size, count = _size_of_strips(page), len(page.dataoffsets)
            if size * count > most:
                raise Refusal(
                    "too_many_pixels",
                    f"the TIFF's {count} strips or tiles have {size:,} bytes each; at most {most:,} are taken in all: "
                    "make the picture smaller, or save it with smaller tiles",
                )
            if "DEFLATE" in name:
                _check_deflated(page, size)


def _kind(data: bytes) -> str:
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    for start, kind in _STARTS:
        if data.startswith(start):
            return kind
    raise Refusal(
        "unsupported_media", f"the bytes are none of {', '.join(TYPES)}; expected a picture: save it as PNG or JPEG"
    )


def _end(data: bytes, kind: str) -> int:
    """Where the picture ends; the length of the file where its format does not tell."""
    try:
        if kind == "JPEG":
            return _end_of_jpeg(data)
        if kind == "PNG":
            return _end_of_png(data)
        if kind == "GIF":
            return _end_of_gif(data)
        if kind == "WebP":
            size = 8 + int.from_bytes(data[4:8], "little")
            if size > len(data):
                raise IndexError
            return size + size % 2 if size + size % 2 <= len(data) else size
        if kind == "BMP":
            return int.from_bytes(data[2:6], "little") or len(data)
    except IndexError:
        raise Refusal(
            "bad_picture", f"the {kind} is truncated or damaged (it ends early); copy or export it again"
        ) from None
    return len(data)


def _end_of_jpeg(data: bytes) -> int:
    place, scans = 2, 0
    parts = _counted("JPEG")
    while True:
        next(parts)
        if data[place] != 0xFF:
            raise IndexError
        if data[place + 1] == 0xFF:  # fill
            found = _NO_FILL.search(data, place)
            if found is None:
                raise IndexError
            place = found.start() - 1
        marker = data[place + 1]
        if marker == 0xD9:
            return place + 2
        if marker == 0x01 or 0xD0 <= marker <= 0xD7:
            place += 2
            continue
        length = int.from_bytes(data[place + 2 : place + 4])
        if length < 2 or place + 2 + length > len(data):
            raise IndexError
        place += 2 + length
        if marker == 0xDA:
            scans += 1
            if scans > SCANS:
                raise Refusal(
                    "unsupported_media", f"the JPEG has more than {SCANS} scans; save it again as a usual one"
                )
            found = _MARKER.search(data, place)
            if found is None:
                raise IndexError
            place = found.start()


def _end_of_png(data: bytes) -> int:
    place = 8
    parts = _counted("PNG")
    while True:
        next(parts)
        kind = data[place + 4 : place + 8]
        place += 12 + int.from_bytes(data[place : place + 4])
        if place > len(data):
            raise IndexError
        if kind == b"IEND":
            return place


def _end_of_gif(data: bytes) -> int:
    def table(flags: int) -> int:
        return 3 * (2 << (flags & 7)) if flags & 0x80 else 0

    place = 13 + table(data[10])
    parts = _counted("GIF")
    while True:
        next(parts)
        block = data[place]
        if block == 0x3B:
            return place + 1
        if block == 0x2C:
            place += 10 + table(data[place + 9]) + 1
        elif block == 0x21:
            place += 2
        else:
            raise IndexError
        while data[place]:
            next(parts)
            place += 1 + data[place]
        place += 1


def _counted(kind: str) -> Iterator[None]:
    """Endless, but for a refusal at too many parts."""
    yield from itertools.repeat(None, PARTS[kind])
    raise Refusal(
        "unsupported_media", f"the {kind} is cut into more than {PARTS[kind]:,} parts; save it again as a usual one"
    )


def _is_trailer(rest: bytes) -> bool:
    """What cameras put behind a JPEG: another picture, a film, padding."""
    return (
        rest.startswith(b"\xff\xd8\xff") or rest[4:8] == b"ftyp" or rest.endswith(b"SEFT") or not rest.strip(b"\0 \r\n")
    )


def _is_zip(data: bytes) -> bool:
    """Whether the file ends as ZIP archives do, with a comment or none."""
    tail = data[-65_557:]
    place = tail.rfind(b"PK\x05\x06")
    return 0 <= place <= len(tail) - 22 and len(tail) - place - 22 == int.from_bytes(
        tail[place + 20 : place + 22], "little"
    )


def _count_pages(data: bytes) -> None:
    """Walk the chain of a TIFF's pages, which may be endless."""
    for count, _ in enumerate(_pages(data), 1):
        if count > PAGES:
            raise Refusal("unsupported_media", f"the TIFF has more than {PAGES} pages; send one picture")


def _pages(data: bytes) -> Iterator[int]:
    order = "<" if data[:2] == b"II" else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    number, width, entry, first = ("Q", 8, 20, 8) if big else ("H", 2, 12, 4)
    pointer = "Q" if big else "I"
    texts = (1, 2, 6, 7)
    try:
        (place,) = struct.unpack_from(order + pointer, data, first)
        while place:
            yield place
            (entries,) = struct.unpack_from(order + number, data, place)
            tags = (
                struct.unpack_from(f"{order}H{pointer}", data, place + width + entry * k + 2)
                for k in range(min(entries, TAGS + 1))
            )
            if entries > TAGS or any(count > VALUES and kind not in texts for kind, count in tags):
                raise Refusal(
                    "unsupported_media", "the TIFF has very many tags or strips; save it again as a usual one"
                )
            (place,) = struct.unpack_from(order + pointer, data, place + width + entry * entries)
    except struct.error:
        raise Refusal(
            "bad_picture", "the TIFF is truncated or damaged (it ends early); copy or export it again"
        ) from None


def _size_of_strips(page: Any) -> int:
    """Bytes that a strip or tile unpacks to."""
    if page.is_tiled:
        pixels = page.tilelength * page.tilewidth
    else:
        pixels = min(page.rowsperstrip or page.imagelength, page.imagelength) * page.imagewidth
    return int(pixels * max(page.samplesperpixel, 1) * max(page.bitspersample, 8) // 8 * max(page.tiledepth, 1))


def _check_deflated(page: Any, most: int) -> None:
    """Each strip or tile unpacks to no more than its own pixels; a bomb's goes on."""
    for place, count in zip(page.dataoffsets, page.databytecounts, strict=False):
        page.parent.filehandle.seek(place)
        unpacked = zlib.decompressobj()
        try:
            size = len(unpacked.decompress(page.parent.filehandle.read(count), most + 1))
        except zlib.error:
            raise Refusal("bad_picture", "the TIFF is truncated or damaged; copy or export it again") from None
        if size > most:
            raise Refusal("unsupported_media", "a strip of the TIFF holds more than its pixels; save it again")
