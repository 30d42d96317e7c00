"""Uploads: the body of a request, read within limits of bytes and time, and its parts."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from pixelwise.server.refusals import Refusal
from pixelwise.server.settings import Settings

FORM = "multipart/form-data"
FILES = ("image", "mask")  # fields that hold files
AROUND = 64 * 2**10  # bytes that a form may have beside its files
PARTS = 32
HEADERS = 8 * 2**10  # bytes of a part's headers
FIELD = 8 * 2**10  # bytes of another field
TOGETHER = 16  # uploads of the largest size that memory holds at a time


@dataclass
class Part:
    """One part of a form; the name of its file is never used."""

    name: str
    content: bytearray = field(default_factory=bytearray)
    content_type: str = ""


class Budget:
    """Bytes of all uploads that are being read or wait."""

    def __init__(self, most: int) -> None:
        self.most, self.used = most, 0

    @contextmanager
    def body(self) -> Iterator["Held"]:
        """Those of one upload, given back at the end."""
        held = Held(self)
        try:
            yield held
        finally:
            self.used -= held.count


class Held:
    """The bytes that one upload holds of a budget."""

    def __init__(self, budget: Budget) -> None:
        self.budget, self.count = budget, 0

    def take(self, count: int) -> None:
        """Refuse an upload that would be one too many."""
        if self.budget.used + count > self.budget.most:
            raise Refusal("queue_full", "too much is being uploaded; try again later", retry_after=2)
        self.budget.used += count
        self.count += count


async def read_body(
    stream: AsyncIterator[bytes], announced: str | None, settings: Settings, held: Held, *, form: bool
) -> bytearray:
    """All bytes of a body.

    A client may be silent for `Settings.body_timeout`, and no longer for having been quick before; each byte gives it
    back the time that it takes at `slowest`.

    Args:
        announced: the header Content-Length.
        form: it is a form, which may have as many bytes as a picture and a mask, and something around them.

    Raises:
        Refusal: too_large, as soon as it is known; or body_timeout.
    """
    most = settings.max_bytes * 2 + AROUND if form else settings.max_bytes
    if announced is not None and announced.isdecimal() and int(announced) > most:
        raise _too_large(settings)
    body = bytearray()
    loop = asyncio.get_running_loop()
    begun = loop.time()
    allowed = begun + settings.body_timeout
    chunks = aiter(stream)
    while True:
        try:
            async with asyncio.timeout_at(allowed):
                chunk = await anext(chunks)
        except StopAsyncIteration:
            return body
        except TimeoutError:
            raise Refusal(
                "body_timeout",
                f"after {loop.time() - begun:.0f} seconds {len(body)} bytes were here; send at least "
                f"{settings.slowest // 1024} KiB a second",
            ) from None
        if len(body) + len(chunk) > most:
            raise _too_large(settings)
        held.take(len(chunk))
        body += chunk
        allowed = min(allowed + len(chunk) / settings.slowest, loop.time() + settings.body_timeout)


def _too_large(settings: Settings) -> Refusal:
    return Refusal(
        "too_large", f"at most {settings.max_bytes:,} bytes are taken for a file; make the picture smaller, or cut it"
    )


def media_type(header: str | None) -> tuple[str, Mapping[str, str]]:
    """The type in a Content-Type, in lower case, and its parameters."""
    if not header:
        return "", {}
    kind, options = parse_options_header(header.encode("latin-1", "replace"))
    return kind.decode("latin-1").strip().lower(), {
        key.decode("latin-1"): value.decode("latin-1") for key, value in options.items()
    }


def parts_of(body: bytearray, boundary: str, settings: Settings) -> dict[str, Part]:
    """The parts of a form by their names.

    Raises:
        Refusal: bad_request where it is no form, has a name twice, or a file's name has signs of a path;
            too_large.
    """
    found: dict[str, Part] = {}
    current: list[Any] = [None, bytearray(), bytearray(), {}, False]  # part, header's name, its value, headers, ended

    def begin() -> None:
        current[:4] = [None, bytearray(), bytearray(), {}]
        if len(found) >= PARTS:
            raise Refusal("bad_request", f"the form has more than {PARTS} parts")

    def header(place: int, data: bytes) -> None:
        current[place] += data
        if len(current[place]) > HEADERS:
            raise Refusal("bad_request", "a part of the form has too long headers")

    def header_end() -> None:
        current[3][bytes(current[1]).lower()] = bytes(current[2])
        current[1], current[2] = bytearray(), bytearray()
        if len(current[3]) > PARTS:
            raise Refusal("bad_request", "a part of the form has too many headers")

    def headers_finished() -> None:
        current[0] = _part(current[3])
        if current[0].name in found:
            raise Refusal("bad_request", f"the form has {current[0].name[:40]!r} twice; send it once")
        found[current[0].name] = current[0]

    def data(content: bytes) -> None:
        part = current[0]
        part.content += content
        if len(part.content) > settings.max_bytes:
            raise _too_large(settings)
        if part.name not in FILES and len(part.content) > FIELD:
            raise Refusal("bad_request", f"the field {part.name[:40]!r} is too long")

    def end() -> None:
        current[4] = True

    if not boundary or len(boundary) > 200:
        raise Refusal("bad_request", "the form's Content-Type names no boundary")
    parser = MultipartParser(
        boundary,
        {
            "on_part_begin": begin,
            "on_header_field": lambda data, start, stop: header(1, data[start:stop]),
            "on_header_value": lambda data, start, stop: header(2, data[start:stop]),
            "on_header_end": header_end,
            "on_headers_finished": headers_finished,
            "on_part_data": lambda content, start, stop: data(content[start:stop]),
            "on_end": end,
        },
    )
    try:
        parser.write(bytes(body))
        parser.finalize()
    except FormParserError as error:
        raise Refusal("bad_request", "the body is no multipart form; send one, or the picture's bytes") from error
    if not current[4]:
        raise Refusal("bad_request", "the form ends early; send all of it")
    return found


def _part(headers: dict[bytes, bytes]) -> Part:
    kind, options = parse_options_header(headers.get(b"content-disposition", b""))
    if kind != b"form-data" or b"name" not in options:
        raise Refusal("bad_request", "a part of the form has no name")
    name = options[b"name"].decode("utf-8", "replace")
    filename = options.get(b"filename")
    if filename is not None and _is_path(headers[b"content-disposition"], filename):
        raise Refusal(
            "bad_request", "the file's name has signs of a path; send the bare name of the file (it is not used)"
        )
    content_type = headers.get(b"content-type", b"").decode("latin-1").partition(";")[0]
    return Part(name, content_type=content_type if filename is not None else "")


def _is_path(header: bytes, filename: bytes) -> bool:
    """Signs of a path in a file's name; in the header as it came, too, since the parser cuts Windows' paths."""
    text = filename.decode("utf-8", "replace")
    raw = header.partition(b"filename")[2]
    return (
        any(sign in text for sign in ("/", "\\", "\0", ":"))
        or b"/" in raw
        or b"%2f" in raw.lower()
        or b"%5c" in raw.lower()
        or b":\\" in raw
        or text in (".", "..")
        or any(ord(letter) < 32 for letter in text)
    )
