"""Augmentation: a random crop of a sample, with image and target moved together.

The geometry is one map, affine or elastic: the picture is read by bilinear interpolation and padded with its mean
color, the targets by nearest and padded with void. Where the map only scales, mirrors and moves, the part that the crop
shows is resized, and the crop lies on whole pixels of it, as if the whole picture were resized and then cut; without
scaling it is a plain slice.
Light and color vary in units of the picture's own deviation, so pictures of any range – 8, 12 or 16 bits, float – vary
alike. What may vary is an `Augmentation`.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property, lru_cache, partial
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from pixelwise.data.augmentation import Augmentation
from pixelwise.data.elastic import displacements
from pixelwise.data.levels import Statistics, grid_of, level_scale, statistics_of, to_levels
from pixelwise.data.sample import Image
from pixelwise.labels import ClassMap

Size = tuple[int, int]
KEPT_BYTES = 4 << 20
"""A picture of more is not kept with its crop."""


@dataclass(frozen=True)
class Crop:
    """A view of a picture.

    Attributes:
        pixels: (h, w, C): uint8 where `table` says what each value stands for; else float32 levels.
        table: (256, C) float32 levels, or None. A pixel's normalization is a table's, too, which saves two passes.
        target: (h, w) classes and void.
        measure: gives `statistics`, which few normalizations ask for.
        more: {head: (h, w) classes and void} of the other heads, where there are several.
        weights: (h, w) float32, how much each pixel counts in the loss; 0 in the padding. None where none were given.
    """

    pixels: NDArray[np.uint8] | NDArray[np.float32]
    table: NDArray[np.float32] | None
    target: ClassMap
    measure: Callable[[], Statistics]
    more: Mapping[str, ClassMap] = field(default_factory=dict)
    weights: NDArray[np.float32] | None = None

    @cached_property
    def statistics(self) -> Statistics:
        """(2, C) mean and deviation of the whole picture under the crop's tone curve."""
        return self.measure()

    @property
    def untoned(self) -> bool:
        """Whether each byte is its own level."""
        return self.table is not None and self.table is _bytes(self.pixels.shape[2])

    @property
    def levels(self) -> NDArray[np.float32]:
        """(h, w, C) float32, 0–255 for ordinary pictures; made anew each time."""
        return np.asarray(self.pixels, np.float32) if self.table is None else looked_up(self.table, self.pixels)


class _Span(NamedTuple):
    """One axis of a map that scales, mirrors and moves.

    Attributes:
        start, stop: the part of the source that is resized.
        factor: of the size.
        skipped: pixels of the resized part before the crop begins; below 0 the crop begins before the part.
        side: of the crop, in pixels.
        mirrored: the crop is turned around at last.
        offset: what the map adds.
    """

    start: int
    stop: int
    factor: float
    skipped: int
    side: int
    mirrored: bool
    offset: float

    def resized(self, length: int) -> int:
        """How many pixels `length` of the source become, one at least."""
        return max(round(length * self.factor), 1)

    @property
    def shown(self) -> slice:
        """The pixels of the resized part that lie in the crop."""
        return slice(max(self.skipped, 0), max(self.skipped + self.side, 0))

    @property
    def nearest(self) -> tuple[int, int, int, float, int, int, bool]:
        """What `crop_kernels.nearest` needs to know of an axis."""
        first, behind = max(self.skipped, 0), max(self.skipped + self.side, 0)
        resized = self.resized(self.stop - self.start) if self.stop > self.start else 0
        count = max(min(behind, resized) - first, 0)
        return self.borders(count)[0], count, first, self.factor, self.start, self.stop, self.mirrored

    def borders(self, shown: int) -> tuple[int, int]:
        """Pixels of padding before and behind those `shown`, in the crop's order."""
        before = max(-self.skipped, 0)
        behind = self.side - before - shown
        return (behind, before) if self.mirrored else (before, behind)


def random_crop(
    image: Image,
    target: ClassMap,
    size: Size,
    augmentation: Augmentation,
    random: np.random.Generator,
    *,
    void: int,
    fill: tuple[float, ...] | None = None,
    focus: tuple[int, int] | None = None,
    more: Mapping[str, tuple[ClassMap, int]] | None = None,
    weights: NDArray[np.float32] | None = None,
) -> Crop:
    """A crop of exactly `size` (height, width) from image (H, W, C) and target (H, W).

    Args:
        augmentation: what may vary.
        void: pads the target.
        fill: the color that pads the picture, 0–255 per channel; the picture's own mean if left out.
        focus: (row, column) of a pixel that lies within the crop, at a random place in it; any crop if left out.
        more: {head: (target (H, W), its void)} of other heads, which move along.
        weights: (H, W) float32 of the target's pixels (`pixelwise.data.border_weights`), which move along.
    """
    a = augmentation
    grid = _grid(image)
    linear = _linear(a, target.shape, random)
    inverse = _inverse(linear)
    matrix, spans = _placed(linear, _center(a, inverse, target.shape, size, focus, random), target.shape, size)
    if focus is not None and not _inside(matrix @ np.array([focus[1], focus[0], 1.0]), size):
        matrix, spans = _placed(linear, np.array([focus[1], focus[0]], float), target.shape, size)
    window: tuple[slice, slice]
    place: NDArray[Any] | tuple[_Span, _Span]
    if a.elastic:
        window, place = _bent(matrix, inverse, a.elastic, target.shape, size, focus, random)
    elif spans is None:
        window, place = _window(matrix, inverse, target.shape, size)
    else:
        window, place = (slice(None), slice(None)), spans
    color = fill if fill is not None else tuple(float(v) for v in grid().mean(0))
    pad = tuple(value / level_scale(image.dtype) for value in color)
    crop = _warp(image[window], place, size, cv2.INTER_LINEAR, pad)
    crop_target = _warp(target[window], place, size, cv2.INTER_NEAREST, (float(void),))
    others = {
        head: _warp(other[window], place, size, cv2.INTER_NEAREST, (float(own_void),))
        for head, (other, own_void) in (more or {}).items()
    }
    crop_weights = None if weights is None else _warp(weights[window], place, size, cv2.INTER_NEAREST, (0.0,))
    pixels, table, measure = _toned(crop, grid, a, random)
    return Crop(pixels, table, crop_target, measure, others, crop_weights)


def _grid(image: Image) -> Callable[[], NDArray[np.float32]]:
    """What gives `grid_of` a picture, once; few crops ask for it, and a large picture is not kept for that."""
    if image.nbytes <= KEPT_BYTES:
        return cache(partial(grid_of, image))
    grid = grid_of(image)
    return lambda: grid


def looked_up(
    table: NDArray[np.float32], pixels: NDArray[Any], out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """(h, w, C) float32 values of a table (256, C) for pixels (h, w, C) uint8, in `out` where that is given."""
    from pixelwise.data.lookup_kernels import look_up  # numba takes a while to load

    found = np.empty(pixels.shape, np.float32) if out is None else out
    look_up(table, pixels, found)
    return found


def standardized(
    pixels: NDArray[Any], mean: tuple[float, ...], deviation: tuple[float, ...], out: NDArray[np.float32]
) -> None:
    """Write (pixel − mean) / deviation, each of C values, into `out` (h, w, C) float32 for pixels (h, w, C)."""
    from pixelwise.data.lookup_kernels import standardize  # numba takes a while to load

    height, width, channels = pixels.shape
    row = height, width * channels
    standardize(pixels.reshape(row), _repeated(mean, width), _repeated(deviation, width), out.reshape(row))


@lru_cache(64)
def _repeated(values: tuple[float, ...], width: int) -> NDArray[np.float32]:
    """(width · C,) the values for each pixel of a row."""
    return np.tile(np.asarray(values, np.float32), width)


def _linear(a: Augmentation, source: Size, random: np.random.Generator) -> NDArray[np.float64]:
    """The 2 × 2 part of the map from source (x, y) to crop (x, y)."""
    if a.scales:
        factor = a.scales[int(random.integers(len(a.scales)))]
    elif a.scale_drawn == "linear":
        factor = _uniform(random, *a.scale)
    else:
        factor = math.exp(_uniform(random, math.log(a.scale[0]), math.log(a.scale[1])))
    if a.short_side is not None:
        factor = min(max(factor, a.short_side[0] / min(source)), a.short_side[1] / min(source))
    stretch = math.exp(_uniform(random, -1, 1) * math.log(a.stretch) / 2)
    turn = int(random.integers(4)) * 90 if a.quarter_turns else 0
    turning = bool(a.rotation) and _happens(a.rotation_probability, random)
    radians = math.radians(turn + (_uniform(random, -a.rotation, a.rotation) if turning else 0.0))
    mirror = [-1.0 if flip and random.random() < 0.5 else 1.0 for flip in (a.flip_horizontal, a.flip_vertical)]
    cos, sin = math.cos(radians), math.sin(radians)
    along, across = factor * stretch * mirror[0], factor / stretch * mirror[1]
    turned = cos * along, -sin * across, sin * along, cos * across
    # a quarter turn is exact
    exact = [0.0 if abs(value) < 1e-12 else value for value in turned]
    return np.array([exact[:2], exact[2:]])


def _inverse(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of a 2 × 2 matrix; NumPy's takes a tenth of a millisecond."""
    (a, b), (c, d) = matrix.tolist()
    determinant = a * d - b * c
    return np.array([[d / determinant, -b / determinant], [-c / determinant, a / determinant]])


def _uniform(random: np.random.Generator, low: float, high: float) -> float:
    """`random.uniform(low, high)`, bit for bit, in half its time."""
    return low + (high - low) * random.random()


def _happens(probability: float, random: np.random.Generator) -> bool:
    """True with this probability; what is certain draws nothing."""
    return probability == 1 or random.random() < probability


def _center(
    a: Augmentation,
    inverse: NDArray[np.float64],
    source: Size,
    size: Size,
    focus: tuple[int, int] | None,
    random: np.random.Generator,
) -> NDArray[np.float64]:
    """The source point (x, y) under the crop's middle; the crop reaches over an edge by `overhang` at most."""
    extent = source[1], source[0]
    if focus is None and a.jitter is not None:
        return (np.array(extent) - 1) / 2 + random.integers(-a.jitter, a.jitter, 2, endpoint=True)
    between = []
    for length, row in zip(extent, np.abs(inverse).tolist(), strict=True):
        half = row[0] * (size[1] / 2) + row[1] * (size[0] / 2)  # the crop's half extent in the source
        if length >= 2 * half:
            inner = half * (1 - a.overhang)
            between.append((inner - 0.5, length - inner - 0.5))
        else:  # where the picture is smaller than the crop, it lies anywhere in it
            between.append((length - half - 0.5, half - 0.5))
    if focus is None:
        return np.array([_uniform(random, low, high) for low, high in between])
    spread = a.focus_spread
    place = np.array([_uniform(random, -spread, spread) * length for length in size[::-1]])
    low, high = zip(*between, strict=True)
    return np.asarray(np.clip(np.array([focus[1], focus[0]], float) - inverse @ place, low, high))


def _placed(
    linear: NDArray[np.float64], center: NDArray[np.float64], source: Size, size: Size
) -> tuple[NDArray[np.float64], tuple[_Span, _Span] | None]:
    """(2, 3) map that brings `center` to the crop's middle, on whole pixels: an unscaled crop stays an exact copy.

    A map that only scales, mirrors and moves comes with its rows and columns, whole pixels of the resized picture.
    """
    (along, right), (down, across) = linear.tolist()
    if right or down:
        offset = np.array([(size[1] - 1) / 2, (size[0] - 1) / 2]) - linear @ center
        return np.column_stack([linear, np.round(offset)]), None
    x, y = center.tolist()
    columns = _span(along, (size[1] - 1) / 2 - along * x, source[1], size[1])
    rows = _span(across, (size[0] - 1) / 2 - across * y, source[0], size[0])
    return np.array([[along, 0, columns.offset], [0, across, rows.offset]]), (rows, columns)


def _span(scale: float, offset: float, length: int, side: int) -> _Span:
    """Where a crop of `side` pixels lies along one axis, crop = scale · source + offset, up to half a pixel of it."""
    factor, mirrored = abs(scale), scale < 0
    if mirrored:
        offset = side - 1 - offset
    # all that the interpolation reads, also after the move by half a pixel
    start = max(math.floor((-0.5 - offset) / factor), 0)
    stop = max(min(math.floor((side - 0.5 - offset) / factor) + 2, length), 0)
    # pixel d of the resized part is of the place start + (d + ½) / factor − ½
    first = (factor - 1) / 2 - factor * start
    skipped = round(first - offset)
    offset = first - skipped
    return _Span(start, stop, factor, skipped, side, mirrored, side - 1 - offset if mirrored else offset)


def _inside(point: NDArray[np.float64], size: Size) -> bool:
    return bool(0 <= round(point[0]) < size[1] and 0 <= round(point[1]) < size[0])


def _window(
    matrix: NDArray[np.float64], inverse: NDArray[np.float64], source: Size, size: Size
) -> tuple[tuple[slice, slice], NDArray[np.float64]]:
    """The part of the source that a crop needs, and the map from it: large pictures are not walked through whole."""
    corners = np.array([[0, 0], [size[1], 0], [0, size[0]], [size[1], size[0]]], float)
    inverted = (corners - matrix[:, 2]) @ inverse.T
    window = _around(inverted.min(0), inverted.max(0), source)
    moved = matrix.copy()
    moved[:, 2] += matrix[:, :2] @ np.array([window[1].start, window[0].start], float)
    return window, moved


def _around(low: NDArray[Any], high: NDArray[Any], source: Size) -> tuple[slice, slice]:
    """(rows, columns) of the source from `low` to `high` (x, y), with a margin for the interpolation; never empty."""
    low, high = np.floor(low).astype(int) - 3, np.ceil(high).astype(int) + 3
    (left, right), (top, bottom) = (
        (min(max(int(low[axis]), 0), length - 1), max(min(int(high[axis]), length), 1))
        for axis, length in enumerate((source[1], source[0]))
    )
    return slice(top, max(bottom, top + 1)), slice(left, max(right, left + 1))


def _bent(
    matrix: NDArray[np.float64],
    inverse: NDArray[np.float64],
    elastic: float,
    source: Size,
    size: Size,
    focus: tuple[int, int] | None,
    random: np.random.Generator,
) -> tuple[tuple[slice, slice], NDArray[np.float32]]:
    """The part of the source that an elastic crop needs, and (2, h, w): the point (x, y) in it of every crop pixel.

    The displacements, in pixels of the crop, move the point that the affine map is asked for. Where a focus is asked
    for, they are 0 at its pixel: all move by what that one would have moved.
    """
    moved = displacements(size, elastic, random)
    if focus is not None:
        x, y = (round(float(value)) for value in matrix @ np.array([focus[1], focus[0], 1.0]))
        moved -= moved[:, y, x][:, None, None]
    moved[0] += np.arange(size[1]) - matrix[0, 2]
    moved[1] += (np.arange(size[0]) - matrix[1, 2])[:, None]
    points: NDArray[np.float64] = np.einsum("ij,jhw->ihw", inverse, moved)
    window = _around(points.min((1, 2)), points.max((1, 2)), source)
    points -= np.array([window[1].start, window[0].start], float)[:, None, None]
    return window, points.astype(np.float32)


def _warp(
    array: NDArray[Any],
    place: NDArray[Any] | tuple[_Span, _Span],
    size: Size,
    interpolation: int,
    fill: tuple[float, ...],
) -> NDArray[Any]:
    """`array`, (H, W) or (H, W, C), under a map as (h, w) or (h, w, C) of the same dtype.

    Args:
        place: the affine matrix (2, 3); (2, h, w): the point (x, y) of every pixel; or the rows and columns.
    """
    channels = 1 if array.ndim == 2 else array.shape[2]
    if channels > 4:  # OpenCV's borders hold at most four
        planes = [_warp(array[..., c], place, size, interpolation, (fill[c],)) for c in range(channels)]
        return np.stack(planes, -1)
    warped: NDArray[Any]
    if isinstance(place, tuple):
        if interpolation == cv2.INTER_NEAREST:
            warped = _nearest(array, *place, fill[0])
        else:
            warped = _resized(array, *place, fill)
    elif place.ndim == 3:
        warped = cv2.remap(array, place[0], place[1], interpolation, borderMode=cv2.BORDER_CONSTANT, borderValue=fill)
    else:
        warped = cv2.warpAffine(
            array, place, (size[1], size[0]), flags=interpolation, borderMode=cv2.BORDER_CONSTANT, borderValue=fill
        )
    return warped.reshape(*size, channels) if array.ndim == 3 else warped


def _resized(array: NDArray[Any], rows: _Span, columns: _Span, fill: tuple[float, ...]) -> NDArray[Any]:
    """The rows and columns of `array` that a crop shows, by bilinear interpolation, cut, mirrored and padded."""
    part = array[rows.start : rows.stop, columns.start : columns.stop]
    if part.size and (rows.factor != 1 or columns.factor != 1):
        height, width = rows.resized(part.shape[0]), columns.resized(part.shape[1])
        # the factors are exact without a size, which a part too small to keep a pixel needs
        size = (width, height) if min(height, width) == 1 else None
        part = cv2.resize(part, size, fx=columns.factor, fy=rows.factor, interpolation=cv2.INTER_LINEAR)
    part = part[rows.shown, columns.shown]
    if part.size == 0:  # nothing of it lies in the crop
        return cv2.copyMakeBorder(array[:1, :1], 0, rows.side, 0, columns.side, cv2.BORDER_CONSTANT, value=fill)[1:, 1:]
    top, bottom = rows.borders(part.shape[0])
    left, right = columns.borders(part.shape[1])
    if rows.mirrored or columns.mirrored:
        part = cv2.flip(part, -1 if rows.mirrored and columns.mirrored else int(columns.mirrored))
    if top or bottom or left or right or part.base is not None:  # padded, or a part of what is somebody else's
        part = cv2.copyMakeBorder(part, top, bottom, left, right, cv2.BORDER_CONSTANT, value=fill)
    return part


def _nearest(array: NDArray[Any], rows: _Span, columns: _Span, fill: float) -> NDArray[Any]:
    """The same of (H, W) by the nearest pixel.

    OpenCV's rounds the factors to whole sizes, or takes the pixel before.
    """
    from pixelwise.data.crop_kernels import nearest  # numba takes a while to load

    crop = np.empty((rows.side, columns.side), array.dtype)
    nearest(array, rows.nearest, columns.nearest, array.dtype.type(fill), crop)
    return crop


@cache
def _bytes(channels: int) -> NDArray[np.float32]:
    """(256, C) the levels that bytes are as they stand."""
    levels = np.repeat(np.arange(256, dtype=np.float32)[:, None], channels, 1)
    levels.setflags(write=False)
    return levels


def _toned(
    crop: NDArray[Any],
    grid: Callable[[], NDArray[np.float32]],
    a: Augmentation,
    random: np.random.Generator,
) -> tuple[NDArray[np.uint8] | NDArray[np.float32], NDArray[np.float32] | None, Callable[[], Statistics]]:
    """The crop in other light, as pixels and a table or as levels alone; what gives the picture's statistics.

    The tone curve (gamma, negative) is seen by the statistics, so it survives a normalization by picture only as a
    change of shape; contrast, shifts and noise come after them, and survive it.
    """
    channels = crop.shape[2]
    if not a.tones and crop.dtype == np.uint8:
        random.random(4 + channels + (channels == 3))  # as below, whatever may vary
        return crop, _bytes(channels), lambda: statistics_of(grid())
    exponent = math.exp(_uniform(random, -1, 1) * math.log(a.gamma))
    negative = random.random() < a.invert

    def curve(levels: NDArray[np.float32]) -> NDArray[np.float32]:
        if exponent == 1 and not negative:
            return levels
        low, high = grid().min(0), grid().max(0)
        span = np.maximum(high - low, 1e-6)
        position = np.maximum((levels - low) / span, 0) ** np.float32(exponent)
        position = 1 - position if negative else position
        return np.asarray(low + position * span, np.float32)

    @cache
    def statistics() -> Statistics:
        return statistics_of(curve(grid()))

    gain = np.float32(math.exp(_uniform(random, -1, 1) * math.log(a.contrast)))
    shift = np.asarray(
        _uniform(random, -a.brightness, a.brightness) + random.uniform(-a.color, a.color, channels), np.float32
    )

    def light(levels: NDArray[np.float32]) -> NDArray[np.float32]:
        if gain == 1 and not shift.any():
            return curve(levels)
        mean, deviation = statistics()
        return np.asarray((curve(levels) - mean) * gain + mean + deviation * shift, np.float32)

    gray = channels == 3 and random.random() < a.grey
    table = None
    if crop.dtype == np.uint8:
        table = light(_bytes(channels))
        if not (gray or a.blur or a.blur_kernel or a.noise):
            return crop, table, statistics
    out = light(to_levels(crop)) if table is None else looked_up(table, crop)
    if gray:
        # each channel keeps its own mean and deviation, so that the statistics stay true
        mean, deviation = statistics()
        weights = random.dirichlet(np.ones(3)).astype(np.float32)
        common = ((out - mean) / (deviation + 1e-3)) @ weights
        out = mean + common[..., None] * deviation
    if a.blur and _happens(a.blur_probability, random):
        sigma = random.uniform(0, a.blur)
        if sigma > 0.3:
            out = np.asarray(cv2.GaussianBlur(out, (0, 0), sigma), np.float32).reshape(crop.shape)
    if a.blur_kernel and _happens(a.blur_probability, random):
        out = np.asarray(cv2.GaussianBlur(out, (a.blur_kernel,) * 2, 0), np.float32).reshape(crop.shape)
    if a.noise:
        amount = (statistics()[1] * random.uniform(0, a.noise)).astype(np.float32)
        out = out + random.standard_normal(out.shape, np.float32) * amount
    return np.ascontiguousarray(out, np.float32), None, statistics
