"""One file over http or https: begun where an earlier try was interrupted, and never through another scheme.

The standard library alone; proxies are those of the environment (`HTTPS_PROXY`). A part of a file lies beside its
place, with the server's mark of the version it is of (ETag or Last-Modified): the rest is asked for with `Range` and
`If-Range`, and a server that sends all of it again, or cannot send a part, is taken at its word.
"""

import http.client
import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from pixelwise.errors import BadOption, DataError
from pixelwise.version import VERSION

SCHEMES = ("http", "https")
STALL = 30.0  # seconds without a byte
TRIES = 4  # in a row without a new byte
PAUSE = 1.0  # seconds before the second try; twice as many before each further one
CHUNK = 1 << 18  # bytes
LARGEST = 8 << 30  # bytes; no published file is near it, and a server that sends without end is stopped there

Progress = Callable[[int, int], None]


class NotSent(DataError):
    """An address does not give its file."""


@dataclass(frozen=True)
class Patience:
    """How long a server is waited for.

    Attributes:
        stall: seconds without an answer or a byte.
        tries: in a row that bring nothing new.
        pause: seconds before the second try; each further one waits twice as long.
    """

    stall: float = STALL
    tries: int = TRIES
    pause: float = PAUSE


def checked_address(address: str) -> str:
    """The address, if it is one of http or https.

    Raises:
        BadOption: it is not.
    """
    parts = urlsplit(address)
    if parts.scheme not in SCHEMES or not parts.netloc:
        raise BadOption(f"an address begins with http:// or https://, got {address!r}")
    return address


def download(
    address: str,
    part: Path,
    *,
    size: int | None = None,
    patience: Patience | None = None,
    progress: Progress | None = None,
) -> None:
    """Bring a file to `part`, from where an earlier download of it ended.

    Args:
        part: grows; beside it lies `part` + ".from", which says what it is a part of.
        size: bytes that are expected, for `progress` where the server does not tell.
        progress: called with the bytes so far and of the whole file, 0 where that is not known.

    Raises:
        NotSent: the server cannot be reached, has no such file, sends it elsewhere than over http and https, or stops
            in the middle again and again. What came stays at `part`. One that was never reached is asked once.
        OSError: `part` cannot be written.
    """
    patience = patience or Patience()
    checked_address(address)
    fruitless, pause, begun = 0, patience.pause, _length(part)
    while True:
        before = _length(part)
        try:
            _receive(address, part, size, patience.stall, progress)
            return
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416 and before:  # our part is not of this file, or longer than it
                forget(part)
                fruitless += 1
            elif error.code < 500 and error.code not in (408, 429):
                raise NotSent(_told(error, 0)) from error
            else:
                fruitless += 1
            fault: Exception = error
            told = _told(error, 0)
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
            fault, told = error, _told(error, patience.stall)
            if isinstance(error, urllib.error.URLError) and _length(part) <= begun:
                raise NotSent(told) from error  # it was never reached, and waiting would not help
            fruitless = 0 if _length(part) > before else fruitless + 1
        if fruitless >= patience.tries:
            raise NotSent(told) from fault
        if fruitless:
            time.sleep(pause)
            pause *= 2
        else:
            pause = patience.pause


def answers(address: str, seconds: float) -> None:
    """Ask for the first byte of an address.

    Raises:
        NotSent: it does not answer in the time, or has no such file.
    """
    try:
        request = _request(checked_address(address), {"Range": "bytes=0-0"})
        with _OPENER.open(request, timeout=seconds):
            return
    except urllib.error.HTTPError as error:
        error.close()
        raise NotSent(_told(error, 0)) from error
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        raise NotSent(_told(error, seconds)) from error


def forget(part: Path) -> None:
    """Remove what an earlier try brought."""
    part.unlink(missing_ok=True)
    _mark(part).unlink(missing_ok=True)


def _receive(address: str, part: Path, size: int | None, stall: float, progress: Progress | None) -> None:
    """One try; it goes on where `part` ends, if the server still has that version."""
    version = _version(part, address)
    begun = _length(part) if version else 0
    headers = {"Range": f"bytes={begun}-", "If-Range": version} if begun else {}
    with _OPENER.open(_request(address, headers), timeout=stall) as answer:
        status, sent = int(answer.status), answer.headers
        if status == 206 and _begins_at(sent) != begun:
            forget(part)
            raise http.client.HTTPException("the server sent another part of the file than was asked for")
        begun = begun if status == 206 else 0
        if sent.get_content_type() == "text/html":
            raise NotSent("it gives a web page and not the file")
        whole = _whole(sent, status, begun)
        if whole is not None and whole > LARGEST:
            raise NotSent(f"the server announces {whole:,} bytes, more than any published file has")
        with part.open("ab" if begun else "wb") as file:
            if not begun:
                _mark(part).write_text(json.dumps({"address": address, "version": _version_of(sent)}), encoding="utf-8")
            _copy(answer, file, begun, whole, size, progress)
    got = _length(part)
    if whole is not None and got < whole:
        raise ConnectionError(f"the connection ended after {got:,} of {whole:,} bytes")
    if whole is not None and got > whole:
        forget(part)
        raise http.client.HTTPException(f"the server sent {got:,} bytes of a file of {whole:,}")


def _copy(
    answer: IO[bytes], file: IO[bytes], begun: int, whole: int | None, size: int | None, progress: Progress | None
) -> None:
    done = begun
    total = whole or size or 0
    if progress is not None:
        progress(done, total)
    read = getattr(answer, "read1", answer.read)  # what is there, so that nothing is lost when the rest never comes
    while chunk := read(CHUNK):
        file.write(chunk)
        done += len(chunk)
        if done > LARGEST:
            raise NotSent(f"the server sent more than {LARGEST:,} bytes, more than any published file has")
        if progress is not None:
            progress(done, max(total, done) if total else 0)


def _request(address: str, headers: dict[str, str]) -> urllib.request.Request:
    own = {"User-Agent": f"pixelwise/{VERSION}", "Accept-Encoding": "identity"}
    return urllib.request.Request(address, headers=own | headers)


def _begins_at(sent: Message) -> int | None:
    found = re.match(r"bytes\s+(\d+)-", sent.get("Content-Range", ""))
    return int(found[1]) if found else None


def _whole(sent: Message, status: int, begun: int) -> int | None:
    """Bytes of the whole file, as the server tells."""
    if status == 206:
        found = re.match(r"bytes\s+\d+-\d+/(\d+)", sent.get("Content-Range", ""))
        if found:
            return int(found[1])
    length = sent.get("Content-Length", "")
    return begun + int(length) if length.isdigit() else None


def _version_of(sent: Message) -> str:
    """What If-Range takes: a strong ETag, else the date of the last change; "" where the server gives neither."""
    tag = sent.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else sent.get("Last-Modified", "")


def _version(part: Path, address: str) -> str:
    """The version that a part is of, "" where it is of another address or nobody knows."""
    try:
        record = json.loads(_mark(part).read_text(encoding="utf-8"))
        return str(record["version"]) if record["address"] == address else ""
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _mark(part: Path) -> Path:
    return part.with_name(f"{part.name}.from")


def _length(part: Path) -> int:
    try:
        return part.stat().st_size
    except FileNotFoundError:
        return 0


def _told(error: BaseException, seconds: float) -> str:
    """What went wrong, in a few words."""
    if isinstance(error, urllib.error.HTTPError):
        return " ".join(f"{error.code} {error.reason}".split())
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, BaseException):
        return _told(error.reason, seconds)
    if isinstance(error, TimeoutError):
        return f"nothing came for {seconds:g} s"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__


class _Redirected(urllib.request.HTTPRedirectHandler):
    """Follows redirects within http and https alone."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if urlsplit(newurl).scheme not in SCHEMES:
            raise NotSent(f"it redirects to {newurl}, which is not http or https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    """No handler of file:, ftp: and data: addresses."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        _Redirected(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


_OPENER = _opener()
