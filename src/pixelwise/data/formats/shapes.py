"""Masks drawn from outlines: polygons, circles, lines, points, patches and run lengths.

Coordinates are pixels from the picture's upper left corner, x to the right and y down, so that the center of the pixel
in row r and column c is (c + ½, r + ½). A pixel belongs to a shape where its center does:

- a polygon holds what a ray from there crosses an odd number of times (the even-odd rule, over all of its rings); what
  is on its left or upper border counts, on its right or lower not, so that neighbors neither overlap nor leave a gap;
- a circle holds what is at most its radius away from its center;
- a line is `LINE_WIDTH` wide with round ends, a point is a disc of radius `POINT_RADIUS`, as LabelMe draws them.

Shapes are drawn in their order, later ones on top. What lies outside the picture is cut off.
"""

import base64
import binascii
import hashlib
import io
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from pixelwise.data.decoding.files import MAX_PIXELS
from pixelwise.data.sample import DrawnMask
from pixelwise.errors import DataError

LINE_WIDTH = 10.0
"""Pixels across a line or linestrip; LabelMe's."""

POINT_RADIUS = 5.0
"""Pixels from a point to the rim of its disc; LabelMe's."""

Floats = NDArray[np.floating[Any]]
Pixels = tuple[int, int, NDArray[np.bool_]]  # first row, first column, which pixels of the box from there

_LARGEST_PATCH = 1 << 26
_FARTHEST = 1e7  # a coordinate beyond is no coordinate


@dataclass(frozen=True, eq=False)
class Shape:
    """One thing to draw.

    Attributes:
        value: what its pixels become.
        kind: how `data` is to be read.
        data: "polygon": rings (n, 2) of x, y; "discs": (n, 3) of x, y, radius; "line": (n, 2);
            "bitmap": its corner (column, row), and (h, w) bool; "runs": lengths of runs down the columns, the first of
            zeros.
    """

    value: int
    kind: Literal["polygon", "discs", "line", "bitmap", "runs"]
    data: tuple[NDArray[Any], ...]


@dataclass(frozen=True, eq=False)
class Drawing(DrawnMask):
    """A mask of shapes.

    Attributes:
        path: the file that the shapes stand in.
        files: all files that it depends on.
        name: tells it from the other drawings of that file.
        size: (height, width).
        shapes: in the order of drawing.
        background: the value where no shape is.
        void: the value of shapes that are never counted, if there are such; they are no objects.
    """

    path: Path
    files: tuple[Path, ...]
    name: str
    size: tuple[int, int]
    shapes: tuple[Shape, ...]
    background: int = 0
    void: int | None = None

    def draw(self) -> tuple[NDArray[Any], int]:
        """(values (H, W) uint8, or uint16 where one is above 255; pixels that objects of different classes share).

        Raises:
            DataError: the size is beyond what is read.
        """
        height, width = self.size
        if height * width > MAX_PIXELS:
            raise DataError(
                f"{self.path} says of {self.name} that it has {height * width:,} pixels; at most {MAX_PIXELS:,} are "
                "read: check its height and width"
            )
        top_value = max([self.background, self.void or 0, *(shape.value for shape in self.shapes)])
        values = np.full(self.size, self.background, np.uint8 if top_value <= 255 else np.uint16)
        shared = np.zeros(self.size, bool)
        for shape in self.shapes:
            row, column, inside = pixels(shape, self.size)
            box = np.s_[row : row + inside.shape[0], column : column + inside.shape[1]]
            below = values[box]
            if shape.value not in (self.background, self.void):
                other = inside & (below != shape.value) & (below != self.background)
                if self.void is not None:
                    other &= below != self.void
                shared[box] |= other
            np.copyto(below, values.dtype.type(shape.value), where=inside)
        return values, int(np.count_nonzero(shared))

    @cached_property
    def key(self) -> str:
        """File, name and a digest of all shapes: a class more can change the values of files that did not change."""
        digest = hashlib.blake2b(repr((self.size, self.background, self.void)).encode(), digest_size=8)
        for shape in self.shapes:
            digest.update(f"{shape.value} {shape.kind} {[part.shape for part in shape.data]}".encode())
            for part in shape.data:
                digest.update(part.tobytes())
        return f"{self.path}#{self.name}#{digest.hexdigest()}"

    def __str__(self) -> str:
        return str(self.path) if self.name == self.path.stem else f"{self.path} ({self.name})"


def polygon(value: int, rings: Iterable[Any]) -> Shape:
    """A polygon from one ring of (x, y) or several; a closing point may be there or not.

    Raises:
        DataError: a ring has fewer than three points, or a coordinate is no number. As all errors of these functions,
            the message is the end of a sentence: "has 2 points; expected at least 3".
    """
    parts = []
    for ring in rings:
        points = _points(ring)
        if len(points) > 1 and (points[0] == points[-1]).all():
            points = points[:-1]
        if len(points) < 3:
            raise DataError(f"has {len(points)} points; expected at least 3")
        parts.append(points)
    return Shape(value, "polygon", tuple(parts))


def rectangle(value: int, points: Any) -> Shape:
    """An upright rectangle from two opposite corners, in any order.

    Raises:
        DataError: there are not two points, or four that are its corners.
    """
    corners = _points(points)
    if len(corners) not in (2, 4):
        raise DataError(f"has {len(corners)} points; expected 2 corners of a rectangle")
    (left, top), (right, bottom) = corners.min(0), corners.max(0)
    return polygon(value, [[(left, top), (right, top), (right, bottom), (left, bottom)]])


def circle(value: int, points: Any) -> Shape:
    """A circle from its center and a point of its rim.

    Raises:
        DataError: there are not two points.
    """
    ends = _points(points)
    if len(ends) != 2:
        raise DataError(f"has {len(ends)} points; expected a circle's center and a point of its rim")
    radius = np.hypot(*(ends[1].astype(float) - ends[0]))
    return Shape(value, "discs", (np.array([[*ends[0], radius]], np.float32),))


def discs(value: int, points: Any) -> Shape:
    """A disc of radius `POINT_RADIUS` around each point.

    Raises:
        DataError: there is no point.
    """
    centers = _points(points)
    if not len(centers):
        raise DataError("has no points; expected one")
    return Shape(value, "discs", (np.column_stack([centers, np.full(len(centers), POINT_RADIUS, np.float32)]),))


def line(value: int, points: Any) -> Shape:
    """A line through all points, `LINE_WIDTH` wide.

    Raises:
        DataError: there are fewer than two points.
    """
    corners = _points(points)
    if len(corners) < 2:
        raise DataError(f"has {len(corners)} points; expected at least 2")
    return Shape(value, "line", (corners,))


def bitmap(value: int, points: Any, patch: Any) -> Shape:
    """A patch of pixels at its place, as LabelMe's "mask": a PNG in base64 whose first corner is the first point.

    Raises:
        DataError: the patch cannot be read, or is not of the size that its corners say.
    """
    corners = _points(points)
    if len(corners) != 2:
        raise DataError(f"has {len(corners)} points; expected two corners of its patch")
    left, top, right, bottom = (round(float(number)) for number in corners.ravel())
    expected = f"{bottom - top + 1} × {right - left + 1}"
    try:
        content = base64.b64decode(patch)
        if not content.startswith(b"\x89PNG\r\n\x1a\n") or len(content) < 24:
            raise ValueError("no PNG")
        width, height = struct.unpack(">II", content[16:24])
        if (height, width) != (bottom - top + 1, right - left + 1) or height * width > _LARGEST_PATCH:
            raise DataError(f"has a patch of {height} × {width} pixels; expected {expected}, as its corners say")
        with PillowImage.open(io.BytesIO(content)) as picture:
            array = np.asarray(picture)
    except DataError:
        raise
    except (binascii.Error, TypeError, ValueError, OSError, SyntaxError, struct.error) as error:
        raise DataError(f"has a patch that cannot be read ({error}); expected a PNG in base64") from error
    inside = array.reshape(*array.shape[:2], -1)[:, :, 0] != 0
    return Shape(value, "bitmap", (np.array([left, top]), inside))


def runs(value: int, counts: Any, size: tuple[int, int]) -> Shape:
    """COCO's run lengths, down the columns of a mask (height, width), the first of zeros; a list or COCO's string.

    Raises:
        DataError: they are no run lengths, or do not add up to the mask.
    """
    lengths = decompressed(counts) if isinstance(counts, str | bytes) else _whole(counts)
    total = int(lengths.sum())
    if (lengths < 0).any() or total != size[0] * size[1]:
        raise DataError(f"has runs of {total} pixels; expected {size[0]} × {size[1]} = {size[0] * size[1]}")
    return Shape(value, "runs", (lengths.astype(np.uint32),))


def decompressed(text: str | bytes) -> NDArray[np.int64]:
    """The run lengths in COCO's string.

    Each character less 48 holds five bits of a number, lowest first, and a sixth that says that more follow; the fifth
    bit of the last is the sign. From the fourth number on it is the difference to the one two places before.

    Raises:
        DataError: the string holds other characters, or ends within a number.

    >>> decompressed("52l01").tolist()
    [5, 2, 28, 3]
    """
    raw = text.encode("ascii", errors="replace") if isinstance(text, str) else text
    codes = np.frombuffer(raw, np.uint8).astype(np.int64) - 48
    if codes.size == 0:
        return np.zeros(0, np.int64)
    if codes.min() < 0 or codes.max() > 63 or codes[-1] & 32:
        raise DataError("has run lengths that are not in COCO's code; expected its characters, 0 to o")
    last = codes & 32 == 0
    number = np.concatenate(([0], np.cumsum(last)[:-1]))
    starts = np.concatenate(([0], np.flatnonzero(last)[:-1] + 1))
    place = np.arange(codes.size) - starts[number]
    if place.max() > 11:
        raise DataError("has a run length of more than 60 bits; expected COCO's code")
    values = np.zeros(number[-1] + 1, np.int64)
    np.add.at(values, number, (codes & 31) << 5 * place)
    negative = codes[last] & 16 != 0
    values[negative] -= np.int64(1) << 5 * (place[last][negative] + 1)
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values


def flaw(shape: Shape, size: tuple[int, int]) -> str | None:
    """Why nothing of a shape would be seen in a picture (height, width), as the end of a sentence; None where it is."""
    height, width = size
    if shape.kind == "runs":
        return None if shape.data[0][1::2].any() else "is empty"
    if shape.kind == "bitmap":
        (left, top), inside = shape.data
        if not inside.any():
            return "is empty"
        low, high = np.array([left, top], float), np.array([left + inside.shape[1], top + inside.shape[0]], float)
    else:
        points = np.concatenate([part[:, :2] for part in shape.data]).astype(float)
        reach = {"polygon": 0.0, "line": LINE_WIDTH / 2, "discs": float(shape.data[0][:, -1].max())}[shape.kind]
        if shape.kind == "discs" and reach == 0:
            return "has no area"
        low, high = points.min(0) - reach, points.max(0) + reach
    if low[0] >= width or low[1] >= height or high[0] <= 0 or high[1] <= 0:
        return "lies outside the picture"
    if shape.kind == "polygon" and all(_ring_area(ring) < 1 and _collinear(ring) for ring in shape.data):
        return "has no area"
    if (np.ceil(low - 0.5) > np.floor(high - 0.5)).any():
        return "is too small to hold a pixel's center"
    return None


def area(shape: Shape, size: tuple[int, int]) -> float:
    """About how many pixels a shape has, before anything is cut off; a polygon's rings count alone."""
    if shape.kind == "polygon":
        return sum(_ring_area(ring) for ring in shape.data)
    if shape.kind == "runs":
        return float(shape.data[0][1::2].sum())
    return float(np.count_nonzero(pixels(shape, size)[2]))


def pixels(shape: Shape, size: tuple[int, int]) -> Pixels:
    """The pixels of a shape that are in a picture (height, width)."""
    if shape.kind == "polygon":
        return _polygon_pixels(shape.data, size)
    if shape.kind == "discs":
        return _joined([_disc_pixels(float(x), float(y), float(radius), size) for x, y, radius in shape.data[0]])
    if shape.kind == "line":
        ends = zip(shape.data[0][:-1].astype(float), shape.data[0][1:].astype(float), strict=True)
        return _joined([_segment_pixels(start, end, size) for start, end in ends])
    if shape.kind == "bitmap":
        (left, top), inside = shape.data
        row, column = max(int(top), 0), max(int(left), 0)
        cut = inside[row - top : max(size[0] - top, 0), column - left : max(size[1] - left, 0)]
        return (row, column, cut) if cut.size else _nothing()
    lengths = shape.data[0]
    bits = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    return 0, 0, bits.reshape(size[1], size[0]).T


def _polygon_pixels(rings: Sequence[Floats], size: tuple[int, int]) -> Pixels:
    starts = np.concatenate(rings).astype(float)
    ends = np.concatenate([np.roll(ring, -1, 0) for ring in rings]).astype(float)
    rows, columns = _box(starts.min(0), starts.max(0), size)
    if rows.stop <= rows.start or columns.stop <= columns.start:
        return _nothing()
    up = starts[:, 1] > ends[:, 1]  # all edges downward, so that two polygons see the same line between them
    starts[up], ends[up] = ends[up], starts[up]
    first = np.ceil(starts[:, 1] - 0.5).clip(rows.start, rows.stop).astype(np.int64)
    count = np.ceil(ends[:, 1] - 0.5).clip(rows.start, rows.stop).astype(np.int64) - first
    edge = np.repeat(np.arange(len(count)), count)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count) + first[edge]
    way = ends - starts
    x = starts[edge, 0] + (row + 0.5 - starts[edge, 1]) * way[edge, 0] / way[edge, 1]
    # the first column whose center is not left of the crossing; from there on, inside and outside change places
    column = np.ceil(x - 0.5).clip(columns.start, columns.stop).astype(np.int64) - columns.start
    width = columns.stop - columns.start + 1
    changes = np.zeros((rows.stop - rows.start) * width, np.uint8)
    np.bitwise_xor.at(changes, (row - rows.start) * width + column, np.uint8(1))
    changes = changes.reshape(-1, width)[:, :-1]
    inside = np.bitwise_xor.accumulate(changes, axis=1).view(bool)
    return rows.start, columns.start, inside


def _disc_pixels(x: float, y: float, radius: float, size: tuple[int, int]) -> Pixels:
    rows, columns = _box(np.array([x - radius, y - radius]), np.array([x + radius, y + radius]) + 1, size)
    across = np.arange(columns.start, columns.stop) + 0.5 - x
    down = np.arange(rows.start, rows.stop) + 0.5 - y
    return rows.start, columns.start, across[None] ** 2 + down[:, None] ** 2 <= radius**2


def _segment_pixels(start: Floats, end: Floats, size: tuple[int, int]) -> Pixels:
    half = LINE_WIDTH / 2
    rows, columns = _box(np.minimum(start, end) - half, np.maximum(start, end) + half + 1, size)
    across = np.arange(columns.start, columns.stop)[None] + 0.5 - start[0]
    down = np.arange(rows.start, rows.stop)[:, None] + 0.5 - start[1]
    way = end - start
    length = float(way @ way)
    along = ((across * way[0] + down * way[1]) / length).clip(0, 1) if length else np.zeros((1, 1))
    return rows.start, columns.start, (across - along * way[0]) ** 2 + (down - along * way[1]) ** 2 <= half**2


def _box(low: Floats, high: Floats, size: tuple[int, int]) -> tuple[range, range]:
    """Rows and columns whose centers are in [low, high), as far as they are in the picture."""
    first = np.ceil(low - 0.5).clip(0, (size[1], size[0])).astype(int)
    last = np.ceil(high - 0.5).clip(0, (size[1], size[0])).astype(int)
    return range(int(first[1]), max(int(first[1]), int(last[1]))), range(
        int(first[0]), max(int(first[0]), int(last[0]))
    )


def _joined(parts: list[Pixels]) -> Pixels:
    """All pixels that are in any part."""
    parts = [part for part in parts if part[2].size]
    if not parts:
        return _nothing()
    row, column = min(part[0] for part in parts), min(part[1] for part in parts)
    bottom = max(part[0] + part[2].shape[0] for part in parts)
    right = max(part[1] + part[2].shape[1] for part in parts)
    inside = np.zeros((bottom - row, right - column), bool)
    for top, left, part in parts:
        inside[top - row : top - row + part.shape[0], left - column : left - column + part.shape[1]] |= part
    return row, column, inside


def _nothing() -> Pixels:
    return 0, 0, np.zeros((0, 0), bool)


def _points(raw: Any) -> NDArray[np.float32]:
    """(n, 2) of x, y."""
    try:
        with np.errstate(over="ignore"):
            points = np.asarray(raw, np.float32)
    except (TypeError, ValueError) as error:
        raise DataError("has points that are no numbers; expected pairs of x and y") from error
    if points.size == 0:
        return np.zeros((0, 2), np.float32)
    if points.ndim != 2 or points.shape[1] != 2:
        raise DataError("has points that are no pairs; expected pairs of x and y")
    if not (np.abs(points) <= _FARTHEST).all():
        odd = points[~(np.abs(points) <= _FARTHEST)][0]
        raise DataError(f"has the coordinate {odd:g}; expected pixels")
    return points


def _whole(raw: Any) -> NDArray[np.int64]:
    try:
        return np.asarray(raw, np.int64).reshape(-1)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError("has run lengths that are no numbers; expected a list, or COCO's string") from error


def _ring_area(ring: Floats) -> float:
    """The area of a ring that does not cross itself."""
    x, y = ring.T.astype(float)
    return abs(float(x[:-1] @ y[1:] - y[:-1] @ x[1:] + x[-1] * y[0] - y[-1] * x[0])) / 2


def _collinear(ring: Floats) -> bool:
    """Whether all points are within a thousandth of a pixel from one line."""
    away = ring.astype(float) - ring[0]
    farthest = away[np.argmax((away**2).sum(1))]
    across = np.abs(away[:, 0] * farthest[1] - away[:, 1] * farthest[0])
    return float(across.max()) <= 1e-3 * float(np.hypot(*farthest))
