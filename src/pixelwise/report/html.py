"""What all pages share: how a template becomes a file, how numbers are written, how pictures are put into a page.

A page is one file that needs nothing else: no network, no script, no second file. Names come from people's folders and
may hold anything: the templates escape all of them, and characters that no page may contain are replaced.
"""

import base64
import io
import math
import re
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from PIL import Image

from pixelwise.errors import DataError
from pixelwise.files import replacing


def render(template: str, **values: Any) -> str:
    """A page from a template of this folder; everything in it is escaped unless it is Markup."""
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=jinja2.FunctionLoader(_source),
    )
    environment.filters.update(percent=percent, count=count, short=short_count, seconds=duration)
    environment.filters.update(figure=figure, plain=plain, pythonic=repr)
    page = environment.get_template(template).render(**values)
    return re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", "�", page)


def write_page(page: str, path: Path) -> None:
    """Write a page, whole or not at all.

    Raises:
        DataError: there is no room, or writing is not allowed; the old page, if any, is left alone.
    """
    try:
        with replacing(path) as beside:
            beside.write_bytes(page.encode("utf-8", "replace"))  # file names may hold bytes that are no text
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"cannot write {path}: {reason}; make room or allow writing there, then try again") from error


def _source(name: str) -> str:
    return (resources.files("pixelwise.report") / name).read_text(encoding="utf-8")


def percent(value: float | None, digits: int = 1, *, least: float = 1e-5) -> str:
    """A share 0–1 for people; small ones keep a digit that says something.

    Args:
        digits: after the point, of what is not small.
        least: shares below are "less than" this.

    >>> [percent(share).replace(chr(0x202F), " ") for share in (0.8431, 0.0004, 0.0, None)]
    ['84.3 %', '0.04 %', '0 %', '–']
    >>> percent(4e-6, least=0).replace(chr(0x202F), " ")
    '0.0004 %'
    """
    if value is None or not math.isfinite(value):
        return "–"
    hundredth = value * 100
    if hundredth == 0:
        return "0\u202f%"
    if 0 < hundredth < 0.1:
        places = -math.floor(math.log10(float(f"{hundredth:.1g}")))  # 0.096 is 0.1, not 0.10
        return f"{hundredth:.{places}f}\u202f%" if value >= least else f"<\u202f{least * 100:g}\u202f%"
    return f"{hundredth:.{digits}f}\u202f%"


def count(value: float | None) -> str:
    """A whole number in groups of three, with spaces that do not break.

    >>> count(1234567).replace(chr(0x202F), "_")
    '1_234_567'
    """
    return "–" if value is None else f"{round(value):,}".replace(",", "\u202f")


def short_count(value: float) -> str:
    """A whole number in at most four characters or so.

    >>> short_count(950), short_count(12_345), short_count(2_500_000)
    ('950', '12k', '2.5M')
    """
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            scaled = value / limit
            return f"{scaled:.0f}{unit}" if scaled >= 10 else f"{scaled:.1f}{unit}"
    return f"{value:.0f}"


def duration(seconds: float | None) -> str:
    """A duration for people.

    >>> duration(0.42), duration(75), duration(3700)
    ('0.4 s', '1 min 15 s', '1 h 1 min')
    """
    if seconds is None:
        return "–"
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def figure(value: float | None) -> str:
    """A measured number with three digits that count.

    >>> figure(0.0021), figure(33.04), figure(1520), figure(2e-05)
    ('0.0021', '33', '1520', '2e-5')
    """
    if value is None or not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        return f"{value:.0f}"
    text = f"{value:.3g}"
    return re.sub(r"e([+-])0*", lambda m: "e" + m[1].replace("+", ""), text)


def plain(name: str) -> str:
    """A key as words.

    >>> plain("class_weights")
    'class weights'
    """
    return name.replace("_", " ")


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    """The bytes of a picture as a file of a kind that Pillow writes, such as "PNG"."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def as_uri(content: bytes, kind: str) -> str:
    """A file as an address that holds all of it; `kind` is its MIME type, such as "image/png"."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
