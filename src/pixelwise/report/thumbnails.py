"""Pictures and masks of any size and kind, made small for a page.

Everything is reduced before it is mixed or colored, so that a picture of 24 megapixels costs little more than its
decoding.
"""

import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pixelwise.inference.pictures import displayable
from pixelwise.labels import VOID, Color, LabelSet, voc_color
from pixelwise.report.html import as_uri, encoded

LONGEST_SIDE = 1100  # pixels of an inlined picture: more than a page shows
STANDING_OUT = ((255, 40, 40), (255, 0, 255), (0, 255, 255), (255, 255, 0), (255, 255, 255))
TINY = 128  # pixels up to which a picture is shown with its pixels to be seen, and kept exact
FEW = 0.02  # share of a thumbnail up to which wrong pixels are drawn larger than they are
QUALITIES = (80, 65, 45, 25, 12)  # of JPEGs, the best first


def small_image(image: NDArray[Any], longest: int) -> NDArray[np.uint8]:
    """A picture (H, W, C) of any type for the eye, (h, w, 3) uint8, its longer side at most `longest`."""
    shown = image[..., : 1 if image.shape[2] < 3 else 3]  # of many channels, only these are displayed
    width, height = small_size(image.shape, longest)
    if (height, width) != image.shape[:2]:
        shown = cv2.resize(np.ascontiguousarray(shown), (width, height), interpolation=cv2.INTER_AREA)
        shown = shown.reshape(height, width, -1)
    return displayable(shown)


def small_classes(classes: NDArray[Any], longest: int) -> NDArray[Any]:
    """A map (H, W) of classes with its longer side at most `longest`, by nearest."""
    small: NDArray[Any] = cv2.resize(classes, small_size(classes.shape, longest), interpolation=cv2.INTER_NEAREST_EXACT)
    return small


def small_size(shape: tuple[int, ...], longest: int) -> tuple[int, int]:
    """(width, height) of a picture of this shape, reduced to `longest`.

    >>> small_size((300, 600), 200), small_size((1, 50), 200)
    ((200, 100), (50, 1))
    """
    height, width = shape[:2]
    factor = min(longest / max(height, width), 1)
    return max(round(width * factor), 1), max(round(height * factor), 1)


def standing_out(labels: LabelSet) -> Color:
    """A color that is far from those of the classes.

    >>> standing_out(LabelSet(("a", "b"), palette=((0, 0, 0), (128, 0, 0))))
    (255, 0, 255)
    """
    used = (*labels.palette, voc_color(VOID))

    def distance(color: Color) -> int:
        return min(sum((a - b) ** 2 for a, b in zip(color, other, strict=True)) for other in used)

    return max(STANDING_OUT, key=distance)


def colored_values(values: NDArray[Any], labels: LabelSet, longest: int) -> tuple[NDArray[np.uint8], bool]:
    """The values of a mask's file (H, W) in the classes' colors, (h, w, 3) uint8, and whether some are of no class.

    Those are drawn in the color that stands out; where they are few, each is drawn large enough to be seen.
    """
    size = small_size(values.shape, longest)
    mixed = (values.dtype == np.uint32) != labels.colors  # numbers among colors: all of them mean something else
    wrong = np.ones(values.shape, bool) if mixed else ~_known(values, labels)
    # one nearest pixel in many may well miss what is wrong: its area counts
    area = cv2.resize(wrong.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0
    picked = (np.arange(length) * full // length for length, full in zip(size[::-1], values.shape, strict=True))
    small = values[np.ix_(*picked)].astype(np.int64)
    known = _known(small, labels)
    small[~known] = next(iter(labels.table))
    picture = labels.colored(labels.to_classes(small))
    if wrong.any() and area.mean() < FEW:
        area = cv2.dilate(area.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    picture[area | ~known] = standing_out(labels)
    return picture, bool(wrong.any())


def _known(values: NDArray[Any], labels: LabelSet) -> NDArray[np.bool_]:
    """Where a value stands in the table; by a lookup where the type is small."""
    keys = list(labels.table)
    if values.dtype not in (np.uint8, np.uint16):
        return np.isin(values, keys)
    known = np.isin(np.arange(np.iinfo(values.dtype).max + 1), keys)
    found: NDArray[np.bool_] = known[values]
    return found


def photo_uri(picture: NDArray[np.uint8], most: int) -> str:
    """A picture (h, w, 3) as a JPEG in a data URI: of at most so many bytes, if the coarsest quality can do it."""
    content = b""
    for quality in QUALITIES:
        # without subsampling, so that thin outlines keep their color; "optimize" fails in Pillow on noise
        content = encoded(Image.fromarray(picture), "JPEG", quality=quality, subsampling=0)
        if len(content) <= most:
            break
    return as_uri(content, "image/jpeg")


def drawing_uri(picture: NDArray[np.uint8], most: int) -> str:
    """A picture (h, w, 3) of few colors as a PNG in a data URI; as a JPEG where it turns out to be no such picture."""
    content = encoded(Image.fromarray(picture), "PNG", optimize=True)
    return as_uri(content, "image/png") if len(content) <= most else photo_uri(picture, most)


def thumbnail_uri(picture: NDArray[np.uint8], exact: bool, most: int) -> str:
    """A thumbnail as a data URI of at most this many bytes, if it can be: exact as a drawing, or as a photo."""
    return drawing_uri(picture, most) if exact else photo_uri(picture, most)


def picture_uri(run: Path, name: str | None) -> str | None:
    """A picture of the run folder as a data URI; None where it is missing, unreadable or outside the folder.

    Pictures longer than LONGEST_SIDE are reduced: masks (PNG) by nearest, so that no color is invented.
    """
    if not name:
        return None
    path = run / name
    try:
        if not path.resolve().is_relative_to(run.resolve()):
            return None
        content = path.read_bytes()
        with Image.open(io.BytesIO(content)) as image:
            kind = image.format or ""
            if kind not in ("PNG", "JPEG", "WEBP", "GIF"):
                return None
            if max(image.size) > LONGEST_SIDE:
                ratio = LONGEST_SIDE / max(image.size)
                size = (max(1, round(image.width * ratio)), max(1, round(image.height * ratio)))
                exact = kind == "PNG"
                reduced = image.resize(size, Image.Resampling.NEAREST if exact else Image.Resampling.LANCZOS)
                content = encoded(reduced, kind)
            else:
                image.verify()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    return as_uri(content, f"image/{kind.lower()}")
